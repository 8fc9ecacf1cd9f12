// Who asked gateways for what, why, and what became of it.

import { useFeed } from "../feed.js";
import { ago } from "../format.js";
import { Framed } from "../frame.js";
import { Table } from "../table.js";
import { html } from "../vendor/htm-preact.js";

export function Audit({ onSignedOut }) {
  const feed = useFeed("audit", onSignedOut);
  const columns = [
    { key: "at", name: "When", value: (row) => row.at_ms, show: (row) => ago(row.at_ms, feed.nowMs) },
    { key: "operator", name: "Operator", value: (row) => row.operator },
    { key: "action", name: "Action", value: (row) => (row.minutes ? `${row.action} for ${row.minutes} min` : row.action) },
    { key: "target", name: "Target", value: (row) => row.target },
    { key: "reason", name: "Reason", value: (row) => row.reason },
    { key: "outcome", name: "Outcome", value: (row) => row.outcome || "nobody had to do anything yet" },
  ];
  return html`<${Framed} title="Audit" feed=${feed}>
    ${!feed.page?.enabled && html`<p class="note">Actions are off here; <code>GAMEBUS_DASHBOARD__ACTIONS=true</code> switches them on.</p>`}
    <${Table} columns=${columns} rows=${feed.page?.entries ?? []} caption="Actions of operators within 30 days" order=${{ key: "at", down: true }}
      empty="No operator has asked for anything." />
  <//>`;
}
