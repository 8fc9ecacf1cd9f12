// Is the game alive, and is anything lost.

import { Chart } from "../chart.js";
import { useFeed } from "../feed.js";
import { count, milliseconds, pair, percent, rate } from "../format.js";
import { Framed, Stat } from "../frame.js";
import { html } from "../vendor/htm-preact.js";

const SPANS = { "5m": ["seconds", "last 5 min"], "60m": ["minutes", "last 60 min"] };

export function Overview({ go, theme, span, onSignedOut }) {
  const feed = useFeed("overview", onSignedOut);
  const now = feed.page?.now;
  const [resolution] = SPANS[span] ?? SPANS["5m"];
  const charts = feed.page?.charts[resolution];
  const lines = (...names) => names.map(([name, series]) => ({ name, values: charts.series[series] }));
  const chart = (title, unit, format, ...names) => html`<${Chart} title=${title} unit=${unit} format=${format} theme=${theme}
    last=${charts.last} stepS=${charts.step_s} lines=${lines(...names)} />`;

  return html`<${Framed} title="Overview" feed=${feed}>${
    now &&
    html`
    <dl class="stats">
      <${Stat} name="Players" value=${count(now.players)} note=${`${count(now.connections)} connections`} />
      <${Stat} name="Rooms" value=${count(now.rooms)} />
      <${Stat} name="Realtime events" value=${rate(now.realtime_per_s)} note="at most once" />
      <${Stat} name="Durable events" value=${rate(now.durable_per_s)} note="at least once, acked" />
      <${Stat} name="Delivered" value=${rate(now.delivered_per_s)} note="tick and event frames to clients" />
      <${Stat} name="Ack p50 / p99" value=${pair(now.ack_p50_ms, now.ack_p99_ms)} note="last 10 s, all gateways" />
      <${Stat} name="Position age p50 / p99" value=${pair(now.age_p50_ms, now.age_p99_ms)} note="oldest of a tick, when sent" />
      <${Stat} name="Lag" value=${`${count(now.realtime_lag)} / ${count(now.durable_lag)}`} note="realtime / durable records" bad=${now.durable_lag > 10000} />
      <${Stat} name="Realtime loss" value=${percent(now.loss_rate)} note=${`${count(now.unknown)} unknown, ${count(now.duplicates)} doubled`}
        bad=${now.loss_rate > 0.01 || now.duplicates > 0} title="True loss, counted by the processors: docs/delivery.md" />
      <${Stat} name="Errors" value=${rate(now.errors_per_s)} bad=${now.errors_per_s > 0} note="failed, unknown, cut off, Redis" />
      <${Stat} name="Processes" value=${`${now.gateways} + ${now.processors}`} note=${now.stale ? `${now.stale} stale` : "gateways + processors"} bad=${now.stale > 0} />
    </dl>
    ${now.gateways === 0 && html`<p class="empty">No gateway is running. Start one: <code>gamebus dev</code> or <code>gamebus gateway</code>.</p>`}
    <div class="switch" role="group" aria-label="Time span">${Object.entries(SPANS).map(
      ([key, [, name]]) => html`
      <button type="button" aria-pressed=${key === span} onClick=${() => go(key === "5m" ? "/" : `/?span=${key}`)}>${name}</button>`,
    )}</div>
    <div class="charts" key=${resolution}>
      ${chart("Events", "per second", rate, ["realtime", "realtime_attempted"], ["durable", "durable_acked"])}
      ${chart("Latency", "milliseconds", milliseconds, ["ack p50", "ack_p50_ms"], ["ack p99", "ack_p99_ms"], ["age p50", "age_p50_ms"], ["age p99", "age_p99_ms"])}
      ${chart("Lag", "records", count, ["realtime", "realtime_lag"], ["durable", "durable_lag"])}
      ${chart("Dropped and failed", "per second", rate, ["realtime dropped", "realtime_dropped"], ["durable refused", "durable_refused"], ["unknown", "durable_unknown"], ["dead letters", "dead_letters"])}
    </div>`
  }<//>`;
}
