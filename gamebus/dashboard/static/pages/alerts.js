// What is wrong now, what may be soon, and what was; and what to do about each of it.

import { useFeed } from "../feed.js";
import { ago, bytes, clock, count, duration, percent, rate } from "../format.js";
import { Framed, Stat } from "../frame.js";
import { Table } from "../table.js";
import { html, useEffect } from "../vendor/htm-preact.js";

const UNITS = {
  ratio: percent,
  seconds: (value) => (value < 10 ? `${value.toFixed(2)} s` : duration(value)),
  per_second: rate,
  count: (value) => (value % 1 ? value.toFixed(1) : count(value)),
  bytes,
};
const figure = (row) => UNITS[row.unit](row.value);

/** Text with what stands between backquotes as code. */
const prose = (text) => text.split("`").map((part, index) => (index % 2 ? html`<code>${part}</code>` : part));

const COMMON = [
  {
    key: "title",
    name: "Alert",
    value: (row) => row.title,
    show: (row) =>
      html`<a href=${`#${row.anchor}`} title=${row.summary}>${row.severity === "critical" ? "▲ " : ""}${row.title}</a>`,
  },
  { key: "severity", name: "Severity", value: (row) => row.severity },
  {
    key: "process",
    name: "Process",
    value: (row) => row.process,
    show: (row) =>
      row.process ? html`${row.process} <span class="note">${row.role}</span>` : html`<span class="note">the fleet</span>`,
  },
  { key: "value", name: "Figure", numeric: true, value: (row) => row.value, show: figure },
];
const since = (name, nowMs) => ({
  key: "since",
  name,
  value: (row) => row.since_ms,
  show: (row) => html`${clock(row.since_ms)} <span class="note">${ago(row.since_ms, nowMs)}</span>`,
});
const OVER = {
  key: "resolved",
  name: "Over",
  value: (row) => row.resolved_ms,
  show: (row) =>
    html`${clock(row.resolved_ms)} <span class="note">after ${duration((row.resolved_ms - row.since_ms) / 1000)}</span>`,
};

const identified = (rows) => rows.map((row) => ({ ...row, id: `${row.name}/${row.process_id}/${row.since_ms}` }));

export function Alerts({ onSignedOut }) {
  const feed = useFeed("alerts", onSignedOut);
  const page = feed.page;
  const newest = { key: "since", down: true };
  // The browser looks for the paragraph that the address names before it is there.
  const there = Boolean(page);
  useEffect(() => {
    if (there && location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  }, [there]);
  return html`<${Framed} title="Alerts" feed=${feed}>${
    page &&
    html`
    <dl class="stats">
      <${Stat} name="Firing" value=${count(page.firing.length)} bad=${page.firing.length > 0} />
      <${Stat} name="Pending" value=${count(page.pending.length)} note="the condition holds, not for long enough yet" />
    </dl>
    <h2>Firing</h2>
    <${Table} columns=${[...COMMON, since("Since", feed.nowMs)]} rows=${identified(page.firing)} caption="Firing" order=${newest} empty="Nothing is wrong." />
    ${
      page.pending.length > 0 &&
      html`<h2>Pending</h2>
    <${Table} columns=${[...COMMON, since("Since", feed.nowMs)]} rows=${identified(page.pending)} caption="Pending" order=${newest} />`
    }
    <h2>Over</h2>
    <${Table} columns=${[...COMMON, since("Fired", feed.nowMs), OVER]} rows=${identified(page.history)} caption="Over, the last 200"
      order=${newest} empty="Nothing has been wrong within the last 30 days." />
    <h2>Runbook</h2>
    ${page.alerts.map(
      (alert) => html`<section class="card runbook" key=${alert.name} id=${alert.anchor}>
      <h3>${alert.title} <span class="note">${alert.severity}</span></h3>
      <p>${prose(alert.summary)} ${prose(alert.cause)}</p><p>${prose(alert.action)}</p></section>`,
    )}`
  }<//>`;
}
