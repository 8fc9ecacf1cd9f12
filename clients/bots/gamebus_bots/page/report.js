// Draws the charts of a report; everything else is in the page already.
const report = JSON.parse(document.getElementById("report").textContent);
const { series, servers, latencies } = report;
const HEIGHT = 240;

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });
const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const shown = (unit) => (_, value) => (value == null ? "–" : `${exact.format(value)}${unit}`);
const colour = (index) => style(`--line-${(index % 7) + 1}`);

const axis = (more) => ({
  stroke: style("--soft"),
  grid: { stroke: style("--grid"), width: 1 },
  ticks: { show: false },
  ...more,
});

function lines(names, unit, more = () => ({})) {
  return names.map((label, index) => ({
    label,
    stroke: colour(index),
    width: 1.75,
    points: { show: false },
    value: shown(unit),
    ...more(label, index),
  }));
}

const pointedAt = (plot) => plot.root.classList.toggle("idle", plot.cursor.idx == null);

function options(ySeries, unit, { x = {}, scales = {}, axes = [] } = {}) {
  return {
    height: HEIGHT,
    width: 480,
    cursor: { y: false },
    // Values stand in the legend while somebody points at the chart.
    hooks: { ready: [pointedAt], setCursor: [pointedAt] },
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] }, ...scales },
    axes: [
      axis({ values: (_, values) => values.map((value) => `${value} s`), ...x.axis }),
      axis({ size: 62, values: (_, values) => values.map((value) => short.format(value) + unit) }),
      ...axes,
    ],
    series: [{ label: x.label ?? "at", value: x.value ?? shown(" s") }, ...ySeries],
  };
}

const some = (values) => values?.some((value) => value != null);

function overTime(id, names, labels) {
  const present = names.map((name, index) => [name, labels[index]]).filter(([name]) => some(series[name]));
  if (!present.length) return null;
  const data = [series.t, ...present.map(([name]) => series[name])];
  return { id, data, options: () => options(lines(present.map(([, label]) => label), " ms"), " ms") };
}

function spectrum() {
  const names = ["position", "ack", "chat"].flatMap((name) => [`${name}.response`, `${name}.service`]);
  const present = names.filter((name) => latencies[name]?.spectrum.length);
  if (!present.length) return null;
  const nines = (percentile) => 100 / (100 - percentile);
  const tables = present.map((name) => [latencies[name].spectrum.map(([p]) => nines(p)), latencies[name].spectrum.map(([, ms]) => ms)]);
  const data = uPlot.join(tables);
  const percent = (value) => `${+(100 - 100 / value).toFixed(4)} %`;
  return {
    id: "spectrum",
    data,
    options: () =>
      options(
        lines(present.map((name) => name.replace(".", " ")), " ms", (label, index) => ({
          stroke: colour(Math.floor(names.indexOf(label.replace(" ", ".")) / 2)),
          dash: label.endsWith("service") ? [5, 4] : undefined,
          spanGaps: true,
        })),
        " ms",
        {
          x: {
            label: "percentile",
            value: (_, value) => (value == null ? "–" : percent(value)),
            axis: { values: (_, values) => values.map((value) => (value == null ? null : percent(value))) },
          },
          scales: { x: { time: false, distr: 3, log: 10 } },
        },
      ),
  };
}

function events() {
  if (!series.t.length) return null;
  const left = ["sent_per_s", "received_per_s"];
  const right = ["acked_per_s", "delivered_per_s"];
  const labels = ["sent", "positions received", "acked", "delivered"];
  return {
    id: "events",
    data: [series.t, ...[...left, ...right].map((name) => series[name])],
    options: () =>
      options(
        lines(labels, "/s", (_, index) => (index < left.length ? {} : { scale: "durable", dash: [5, 4] })),
        "",
        {
          scales: { durable: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
          axes: [axis({ side: 1, scale: "durable", size: 62, grid: { show: false }, values: (_, values) => values.map((value) => short.format(value)) })],
        },
      ),
  };
}

function usage(id, table, unit) {
  if (!table) return null;
  const names = Object.keys(table).filter((name) => Math.max(...table[name]) >= (unit ? 1 : 0.005));
  return { id, data: [servers.t, ...names.map((name) => table[name])], options: () => options(lines(names, unit), unit) };
}

const charts = [
  overTime("position", ["position_p50", "position_p99", "position_max"], ["p50", "p99", "max"]),
  overTime("durable", ["ack_p50", "ack_p99", "chat_p50", "chat_p99"], ["ack p50", "ack p99", "chat p50", "chat p99"]),
  spectrum(),
  events(),
  usage("cpu", servers.cores, ""),
  usage("rss", servers.rss_mib, " MiB"),
].filter(Boolean);

for (const figure of document.querySelectorAll("figure")) {
  const id = figure.querySelector(".chart").id;
  if (!charts.some((chart) => chart.id === id)) figure.remove();
}

let drawn = [];
function draw() {
  for (const plot of drawn) plot.destroy();
  drawn = charts.map(({ id, data, options: make }) => {
    const target = document.getElementById(id);
    return new uPlot({ ...make(), width: target.clientWidth }, data, target);
  });
}

draw();
new ResizeObserver(() => {
  for (const plot of drawn) {
    const width = plot.root.parentElement.clientWidth;
    if (width !== plot.width) plot.setSize({ width, height: HEIGHT });
  }
}).observe(document.body);
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
