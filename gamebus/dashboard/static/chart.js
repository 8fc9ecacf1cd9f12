// A line chart of the timeline (uPlot).

import { html, useEffect, useRef } from "./vendor/htm-preact.js";
import uPlot from "./vendor/uplot.js";

const HEIGHT = 170;
const COLORS = ["--line-1", "--line-2", "--line-3", "--line-4"];
const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];

/** lines: [{name, values}]; `last` is the Unix second of the last value. */
export function Chart({ title, lines, last, stepS, unit, format, theme }) {
  const box = useRef(null);
  const plot = useRef(null);
  const times = lines[0].values.map((_, index) => last - (lines[0].values.length - 1 - index) * stepS);
  const data = [times, ...lines.map(({ values }) => values)];

  useEffect(() => {
    const style = getComputedStyle(box.current);
    const axis = {
      stroke: style.getPropertyValue("--soft"),
      grid: { stroke: style.getPropertyValue("--grid"), width: 1 },
      ticks: { show: false },
    };
    plot.current = new uPlot(
      {
        width: box.current.clientWidth,
        height: HEIGHT,
        legend: { live: false },
        cursor: { y: false },
        scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1] } },
        axes: [
          {
            ...axis,
            space: 80,
            values: (_, ticks) =>
              ticks.map((tick) =>
                new Date(tick * 1000).toLocaleTimeString("en-GB", {
                  hour: "2-digit",
                  minute: "2-digit",
                  second: stepS < 60 ? "2-digit" : undefined,
                }),
              ),
          },
          { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en")) },
        ],
        series: [
          { value: (_, time) => (time == null ? "" : new Date(time * 1000).toLocaleTimeString("en-GB")) },
          ...lines.map(({ name }, index) => ({
            label: name,
            stroke: style.getPropertyValue(COLORS[index]),
            dash: DASHES[index],
            width: 2,
            points: { show: false },
            value: (_, value) => format(value),
          })),
        ],
      },
      data,
      box.current,
    );
    const resizing = new ResizeObserver(() => plot.current.setSize({ width: box.current.clientWidth, height: HEIGHT }));
    resizing.observe(box.current);
    return () => {
      resizing.disconnect();
      plot.current.destroy();
    };
  }, [theme, stepS]);
  useEffect(() => plot.current.setData(data));

  const newest = lines.map(({ name, values }) => `${name} ${format(values.findLast((value) => value != null))}`).join(", ");
  return html`<figure class="card chart"><figcaption>${title} <span class="unit">${unit}</span></figcaption>
    <div ref=${box} role="img" aria-label=${`${title}, newest: ${newest}`}></div></figure>`;
}
