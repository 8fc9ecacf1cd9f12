// Gateways and processors, and how each one is.

import { Action } from "../action.js";
import { useFeed } from "../feed.js";
import { bytes, count, duration, milliseconds, rate, several } from "../format.js";
import { Framed } from "../frame.js";
import { Table } from "../table.js";
import { html } from "../vendor/htm-preact.js";

const sum = (figures, name) =>
  Object.entries(figures).reduce(
    (total, [key, value]) => (key === name || key.startsWith(`${name}{`) ? total + value : total),
    0,
  );
const sample = (row, name) => sum(row.samples, name);
const perSecond = (row, name) => (Object.keys(row.rates).length ? sum(row.rates, name) : null);

const COMMON = [
  {
    key: "name",
    name: "Process",
    value: (row) => row.name,
    show: (row) =>
      html`${row.stale ? "▲ " : ""}<b>${row.name}</b> <span class="note">${row.stale ? `silent for ${duration(row.age_ms / 1000)}` : row.role}</span>`,
  },
  { key: "uptime", name: "Uptime", numeric: true, value: (row) => row.uptime_s, show: (row) => duration(row.uptime_s) },
];
const COST = [
  {
    key: "loop",
    name: "Loop lag",
    numeric: true,
    title: "Longest delay of the event loop in ten seconds",
    value: (row) => sample(row, "process_event_loop_lag_seconds"),
    show: (row) => milliseconds(sample(row, "process_event_loop_lag_seconds") * 1000),
  },
  {
    key: "cpu",
    name: "CPU",
    numeric: true,
    value: (row) => perSecond(row, "process_cpu_seconds_total"),
    show: (row) => {
      const cpu = perSecond(row, "process_cpu_seconds_total");
      return cpu == null ? "–" : `${(cpu * 100).toFixed(0)} %`;
    },
  },
  {
    key: "rss",
    name: "Memory",
    numeric: true,
    value: (row) => sample(row, "process_resident_memory_bytes"),
    show: (row) => bytes(sample(row, "process_resident_memory_bytes")),
  },
  { key: "version", name: "Version", value: (row) => row.version },
];
const figure = (key, name, sample_, show = count, title) => ({
  key,
  name,
  title,
  numeric: true,
  value: (row) => sample(row, sample_),
  show: (row) => show(sample(row, sample_)),
});
const speed = (key, name, sample_, title) => ({
  key,
  name,
  title,
  numeric: true,
  value: (row) => perSecond(row, sample_),
  show: (row) => rate(perSecond(row, sample_)),
});

const GATEWAY = [
  ...COMMON,
  figure("connections", "Connections", "gateway_connections"),
  figure("rooms", "Rooms", "hub_rooms"),
  speed("in", "Messages in", "gateway_messages_total"),
  speed("ticks", "Ticks out", "hub_tick_frames_total"),
  speed("events", "Events out", "hub_event_frames_total"),
  {
    key: "ack",
    name: "Ack p99",
    numeric: true,
    value: (row) => row.samples.gateway_ack_seconds?.p99_ms,
    show: (row) => milliseconds(row.samples.gateway_ack_seconds?.p99_ms),
    title: "Since the process began",
  },
  figure("outbox", "Outbox peak", "hub_outbox_peak_bytes", bytes),
  figure("slow", "Cut off", "hub_overflows_total", count, "Clients that read too slowly (4001)"),
  ...COST,
];
const DRAIN = {
  key: "actions",
  name: "Actions",
  value: (row) => row.name,
  show: ({ id, name, stale }) =>
    !stale &&
    html`<${Action} action="drain" target=${id} name=${name} label="Drain" explains="Sends its clients to other gateways, group by group, and ends it. Whoever supervises it starts it again." />`,
};
const PROCESSOR = [
  ...COMMON,
  {
    key: "partitions",
    name: "Partitions",
    numeric: true,
    value: (row) => sample(row, "realtime_consumer_assigned") + sample(row, "durable_consumer_partitions"),
  },
  speed("realtime", "Realtime", "realtime_consumer_processed_total"),
  speed("durable", "Durable", "durable_effects_applied_total"),
  {
    key: "lag",
    name: "Lag",
    numeric: true,
    value: (row) => sample(row, "realtime_consumer_lag") + sample(row, "durable_consumer_lag"),
    show: (row) => count(sample(row, "realtime_consumer_lag") + sample(row, "durable_consumer_lag")),
  },
  {
    key: "commit",
    name: "Commit",
    numeric: true,
    title: "Mean latency of commits to Kafka, since the process began",
    value: (row) => commitMs(row),
    show: (row) => milliseconds(commitMs(row)),
  },
  {
    key: "rebalances",
    name: "Rebalances",
    numeric: true,
    value: (row) => sample(row, "realtime_consumer_rebalances_total") + sample(row, "durable_consumer_rebalances_total"),
  },
  figure(
    "rewinds",
    "Rewinds",
    "durable_consumer_rewinds_total",
    count,
    "Partitions read again because Redis may have lost effects",
  ),
  figure("letters", "Dead letters", "durable_consumer_dead_letters_total"),
  ...COST,
];

function commitMs(row) {
  const commits = sample(row, "realtime_consumer_commits_total") + sample(row, "durable_consumer_commits_total");
  const seconds = sample(row, "realtime_consumer_commit_seconds_total") + sample(row, "durable_consumer_commit_seconds_total");
  return commits ? (seconds / commits) * 1000 : null;
}

export function Processes({ actions, onSignedOut }) {
  const feed = useFeed("processes", onSignedOut);
  const rows = feed.page?.processes ?? [];
  const gateways = rows.filter(({ role }) => role === "gateway");
  const processors = rows.filter(({ role }) => role !== "gateway");
  return html`<${Framed} title="Gateways and processors" feed=${feed}>
    <h2>Gateways</h2>
    <${Table} columns=${actions ? [...GATEWAY, DRAIN] : GATEWAY} rows=${gateways} caption=${several(gateways.length, "gateway")} order=${{ key: "name", down: false }}
      empty="No gateway wrote anything within the last minute. Start one: gamebus gateway, or all of it: gamebus dev." />
    <h2>Processors</h2>
    <${Table} columns=${PROCESSOR} rows=${processors} caption=${several(processors.length, "processor")} order=${{ key: "name", down: false }}
      empty="No processor wrote anything within the last minute. Start one: gamebus processor all." />
  <//>`;
}
