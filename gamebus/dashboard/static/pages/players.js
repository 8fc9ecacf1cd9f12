// Who is where.

import { Action } from "../action.js";
import { useFeed } from "../feed.js";
import { ago, bytes, count, milliseconds, several } from "../format.js";
import { Framed, Search } from "../frame.js";
import { Table } from "../table.js";
import { html } from "../vendor/htm-preact.js";

export function Players({ go, text, actions, onSignedOut }) {
  const feed = useFeed(text ? `players:${text}` : "players", onSignedOut);
  const rows = (feed.page?.players ?? []).map((player, index) => ({
    ...player,
    rank: index,
    id: `${player.player}/${player.session}`,
  }));
  const columns = [
    { key: "player", name: "Player", value: (row) => row.player },
    {
      key: "trouble",
      name: "Trouble",
      value: (row) => row.rank,
      show: (row) => row.trouble.map((what) => html`<span class="badge">${what}</span> `),
      title: "Who sends too much, reads too slowly or is far away stands first",
    },
    { key: "role", name: "Role", value: (row) => row.role },
    {
      key: "rooms",
      name: "Rooms",
      value: (row) => row.rooms.join(", "),
      show: (row) =>
        row.rooms.map(
          (room) => html`
      <a href=${`/rooms/${encodeURIComponent(room)}`} onClick=${(event) => {
        event.preventDefault();
        go(`/rooms/${encodeURIComponent(room)}`);
      }}>${room}</a> `,
        ),
    },
    { key: "gateway", name: "Gateway", value: (row) => row.gateway },
    {
      key: "rtt",
      name: "RTT",
      numeric: true,
      value: (row) => row.rtt_ms,
      show: (row) => milliseconds(row.rtt_ms),
      title: "Round trip of the gateway's last ping; the first one comes within ten seconds",
    },
    {
      key: "heard",
      name: "Heartbeat",
      numeric: true,
      value: (row) => row.heard_ms,
      show: (row) => ago(row.heard_ms, feed.nowMs),
    },
    {
      key: "outbox",
      name: "Outbox",
      numeric: true,
      value: (row) => row.queued_bytes,
      show: (row) => bytes(row.queued_bytes),
      title: "What waits for a slow reader",
    },
    {
      key: "rate_limited",
      name: "Rate limited",
      numeric: true,
      value: (row) => row.rate_limited,
      show: (row) => count(row.rate_limited),
      title: "Messages refused since it connected, because they came more often than allowed",
    },
    { key: "session", name: "Session", value: (row) => row.session, show: (row) => html`<code>${row.session}</code>` },
  ];
  if (actions) {
    columns.push({
      key: "actions",
      name: "Actions",
      value: (row) => row.player,
      show: ({ player, role }) =>
        role === "player" &&
        html`<${Action} action="kick" target=${player} name=${player} label="Kick" explains="Closes the connection; the client does not come back by itself." />
          ${" "}<${Action} action="mute" target=${player} name=${player} label="Mute" minutes explains="Refuses the chat of this player for a while, on every gateway." />`,
    });
  }
  const cut = feed.page && rows.length === feed.page.limit;
  return html`<${Search} label="Player" text=${text} onText=${(next) => go(next ? `/players?q=${encodeURIComponent(next)}` : "/players")} />
    <${Framed} title="Players" feed=${feed}>
      <${Table} columns=${columns} rows=${rows} order=${{ key: "trouble", down: false }}
        caption=${cut ? `The first ${count(rows.length)} players found; search for a name` : several(rows.length, "player")}
        empty=${text ? `No player whose name holds “${text}” is connected.` : "Nobody is connected. Let bots play: gamebus demo."} />
    <//>`;
}
