// What became of every event.

import { useFeed } from "../feed.js";
import { ago, clock, count, percent } from "../format.js";
import { Framed, Stat } from "../frame.js";
import { Table } from "../table.js";
import { html } from "../vendor/htm-preact.js";

const TERMS = [
  ["lost_on_wire", "lost on the wire", "written to a socket and never seen in Kafka"],
  ["dropped_on_failed_commit", "commit failed", "read, and not processed because its commit failed"],
  ["lost_in_crash", "lost after commit", "committed, and then the processor died or its handler failed"],
  ["skipped", "skipped", "too old, overtaken, or written before the processors began"],
  ["unknown", "unknown", "nobody can say: a process was killed, or an account was lost"],
];
const dropped = (loss) => Object.values(loss.dropped).reduce((a, b) => a + b, 0);

/** attempted = processed + every way to be lost: one bar for each term, to scale. */
function Waterfall({ loss, nowMs }) {
  const drops = Object.entries(loss.dropped).map(([reason, amount]) => [
    `dropped: ${reason}`,
    amount,
    "never written, by the publisher's reason",
  ]);
  const rows = [
    ["attempted", loss.attempted, "every call of a publisher"],
    ...drops,
    ...TERMS.map(([key, name, title]) => [name, loss[key], title]),
    ["processed", loss.processed, "handed to a handler that ended well, after its commit"],
  ];
  const total = rows.slice(1).reduce((sum, [, amount]) => sum + amount, 0);
  return html`<section class="card waterfall"><h3>${loss.types.join(", ")} <span class="note">${loss.topic}, counted ${ago(loss.written_ms, nowMs)}</span></h3>
    <p class="note">${loss.types
      .map((type) => loss.rationales[type])
      .filter(Boolean)
      .join(" ")}</p>
    <dl class="stats">
      <${Stat} name="True loss" value=${percent(loss.attempted ? loss.loss_rate : null)} note="counted by the processors" bad=${loss.loss_rate > 0.01} />
      <${Stat} name="Publishers' estimate" value=${percent(loss.attempted ? loss.estimated_loss_rate : null)} note="dropped / attempted: all that acks=0 knows" />
      <${Stat} name="Doubled" value=${count(loss.duplicates)} bad=${loss.duplicates > 0} note="an alarm: this class never doubles" />
    </dl>
    <table><caption>Every attempted event is in one of these${total === loss.attempted ? "" : `; ${count(loss.attempted - total)} are on their way`}</caption>
      <tbody>${rows.map(
        ([
          name,
          amount,
          title,
        ]) => html`<tr key=${name} title=${title}><th scope="row">${name}</th><td class="number">${count(amount)}</td>
        <td class="bar"><meter min="0" max=${Math.max(1, loss.attempted)} value=${amount} aria-hidden="true"></meter></td></tr>`,
      )}</tbody></table></section>`;
}

export function Delivery({ onSignedOut }) {
  const feed = useFeed("delivery", onSignedOut);
  const page = feed.page;
  const answers = page?.durable.answers ?? {};
  const refused = Object.entries(answers).reduce(
    (sum, [answer, amount]) => (["ack", "unknown_outcome"].includes(answer) ? sum : sum + amount),
    0,
  );
  const streams = (page?.realtime.streams ?? []).map((stream) => ({
    ...stream,
    id: `${stream.boot}/${stream.topic}`,
    stale: stream.ended,
  }));
  const columns = [
    {
      key: "process",
      name: "Publisher",
      value: (row) => row.process ?? row.boot,
      show: (row) => html`${row.process ?? html`<code>${row.boot}</code>`} <span class="note">${row.ended ? "ended" : ""}</span>`,
    },
    { key: "topic", name: "Topic", value: (row) => row.topic },
    { key: "attempted", name: "Attempted", numeric: true, value: (row) => row.attempted, show: (row) => count(row.attempted) },
    { key: "processed", name: "Processed", numeric: true, value: (row) => row.processed, show: (row) => count(row.processed) },
    { key: "dropped", name: "Dropped", numeric: true, value: dropped, show: (row) => count(dropped(row)) },
    ...TERMS.map(([key, name, title]) => ({
      key,
      name: name.replace("lost ", ""),
      title,
      numeric: true,
      value: (row) => row[key],
      show: (row) => count(row[key]),
    })),
    {
      key: "estimate",
      name: "Estimated",
      numeric: true,
      value: (row) => row.estimated_loss_rate,
      show: (row) => percent(row.estimated_loss_rate),
    },
    { key: "loss", name: "True loss", numeric: true, value: (row) => row.loss_rate, show: (row) => percent(row.loss_rate) },
  ];
  const letters = (page?.dead_letters ?? []).map((letter) => ({
    ...letter,
    id: `${letter.topic}/${letter.partition}/${letter.offset}`,
  }));
  const letterColumns = [
    { key: "at", name: "When", value: (row) => row.at_ms, show: (row) => clock(row.at_ms) },
    { key: "type", name: "Type", value: (row) => row.type || "no event" },
    { key: "room", name: "Room", value: (row) => row.room },
    { key: "player", name: "Player", value: (row) => row.player },
    { key: "error", name: "Error", value: (row) => row.error },
    {
      key: "record",
      name: "Record",
      value: (row) => row.id,
      show: (row) => html`<code>${row.topic}/${row.partition}@${row.offset}</code>`,
    },
  ];
  return html`<${Framed} title="Delivery" feed=${feed}>${
    page &&
    html`
    <h2>At most once</h2>
    <div class="columns">${page.realtime.types.map((loss) => html`<${Waterfall} key=${loss.topic} loss=${loss} nowMs=${feed.nowMs} />`)}</div>
    <${Table} columns=${columns} rows=${streams} caption="By publisher" order=${{ key: "loss", down: true }} empty="Nothing was published yet." />
    <h2>At least once</h2>
    <dl class="stats">
      <${Stat} name="Acked" value=${count(answers.ack)} note="in all in-sync replicas" />
      <${Stat} name="Under way" value=${count(page.durable.queued)} note="in the gateways' outboxes" />
      <${Stat} name="Refused" value=${count(refused)} bad=${refused > 0}
        note=${
          Object.entries(answers)
            .filter(([answer, amount]) => amount && !["ack", "unknown_outcome"].includes(answer))
            .map(([answer, amount]) => `${answer} ${count(amount)}`)
            .join(", ") || "surely not written; the client is told"
        } />
      <${Stat} name="Unknown" value=${count(answers.unknown_outcome)} note="the client sends it again" bad=${answers.unknown_outcome > 0} />
      <${Stat} name="Applied" value=${count(page.durable.processed.applied)} note="effects, once per event" />
      <${Stat} name="Duplicates passed over" value=${count(page.durable.processed.duplicates)} note="read again or sent again" />
      <${Stat} name="Dead letters" value=${count(page.durable.processed.dead_letters)} bad=${page.durable.processed.dead_letters > 0} note="gamebus dlq list" />
    </dl>
    <p class="note">Of the processes heard of within the last minute, since each of them began: what one counted goes when it ends, or a minute after it was killed.</p>
    <${Table} columns=${letterColumns} rows=${letters} caption="Last dead letters" order=${{ key: "at", down: true }} empty="No dead letters within 24 hours." />`
  }<//>`;
}
