// All rooms, and one room as it is: players on a map, scores, kills, chat.

import { useFeed } from "../feed.js";
import { ago, clock, count, milliseconds, several } from "../format.js";
import { Framed, Search, Stat } from "../frame.js";
import { Table } from "../table.js";
import { html, useEffect, useRef } from "../vendor/htm-preact.js";

const MAP_SIZE = 320;
const MARGIN = 16;

export function Rooms({ go, text, onSignedOut }) {
  const feed = useFeed(text ? `rooms:${text}` : "rooms", onSignedOut);
  const rows = (feed.page?.rooms ?? []).map((room) => ({ ...room, id: room.room }));
  const open = (room) =>
    html`<a href=${`/rooms/${encodeURIComponent(room)}`} onClick=${(event) => {
      event.preventDefault();
      go(`/rooms/${encodeURIComponent(room)}`);
    }}>${room}</a>`;
  const columns = [
    { key: "room", name: "Room", value: (row) => row.room, show: (row) => open(row.room) },
    { key: "clients", name: "Connections", numeric: true, value: (row) => row.clients, show: (row) => count(row.clients) },
    { key: "tick", name: "Tick rate", numeric: true, value: (row) => row.tick_hz, show: (row) => `${row.tick_hz} Hz` },
    { key: "gateways", name: "Gateways", value: (row) => row.gateways.join(", ") },
  ];
  return html`<${Search} label="Room" text=${text} onText=${(next) => go(next ? `/rooms?q=${encodeURIComponent(next)}` : "/rooms")} />
    <${Framed} title="Rooms" feed=${feed}>
      <${Table} columns=${columns} rows=${rows} order=${{ key: "clients", down: true }}
        caption=${`${count(feed.page?.found)} of ${several(feed.page?.total, "room")}${feed.page?.found > rows.length ? `, the ${rows.length} largest shown` : ""}`}
        empty=${text ? `No room whose name holds “${text}”.` : "No room has a client. Let bots play: gamebus demo, or open the arena of gamebus dev."} />
    <//>`;
}

export function Room({ go, room, onSignedOut, theme }) {
  const feed = useFeed(`room:${room}`, onSignedOut);
  const page = feed.page;
  const players = (page?.players ?? []).map((player) => ({ ...player, id: player.player, stale: !player.present }));
  const columns = [
    { key: "player", name: "Player", value: (row) => row.player },
    { key: "here", name: "Here", value: (row) => (row.present ? "yes" : "no") },
    { key: "kills", name: "Kills", numeric: true, value: (row) => row.kills },
    { key: "deaths", name: "Deaths", numeric: true, value: (row) => row.deaths },
    { key: "rtt", name: "RTT", numeric: true, value: (row) => row.rtt_ms, show: (row) => milliseconds(row.rtt_ms) },
    {
      key: "position",
      name: "Position",
      numeric: true,
      value: (row) => row.position?.[0],
      show: (row) => (row.position ? row.position.map((value) => value.toFixed(1)).join(", ") : "–"),
    },
  ];
  const clients = page?.gateways.reduce((sum, { clients }) => sum + clients, 0);
  return html`<p><a href="/rooms" onClick=${(event) => {
    event.preventDefault();
    go("/rooms");
  }}>← all rooms</a></p>
  <${Framed} title=${`Room ${room}`} feed=${feed}>${
    page &&
    html`
    <dl class="stats">
      <${Stat} name="Players" value=${count(page.players.filter(({ present }) => present).length)} note=${`${count(clients)} connections`} />
      <${Stat} name="Tick rate" value=${page.gateways.length ? `${Math.max(...page.gateways.map(({ tick_hz }) => tick_hz))} Hz` : "–"} />
      <${Stat} name="Last event" value=${ago(page.last_event_ms, feed.nowMs)} note="kill, death or chat" />
      <${Stat} name="Gateways" value=${page.gateways.length} note=${page.gateways.map(({ gateway }) => gateway).join(", ")} />
    </dl>
    <div class="columns">
      <${RoomMap} players=${page.players} theme=${theme} />
      <section class="card"><h2>Kill feed</h2>${
        page.feed.length
          ? html`<ol class="lines">${page.feed.map(
              (event) => html`
        <li key=${event.id}><time>${clock(event.server_ms)}</time> ${told(event)}</li>`,
            )}</ol>`
          : html`<p class="empty">Nobody died yet.</p>`
      }</section>
      <section class="card"><h2>Chat</h2>${
        page.chat.length
          ? html`<ol class="lines">${page.chat.map(
              (event) => html`
        <li key=${event.id}><time>${clock(event.server_ms)}</time> <b>${event.player}</b> ${event.data?.text ?? ""}</li>`,
            )}</ol>`
          : html`<p class="empty">Nobody said a word.</p>`
      }</section>
    </div>
    <${Table} columns=${columns} rows=${players} caption=${`Players of ${room}`} order=${{ key: "kills", down: true }} empty="Nobody is here." />`
  }<//>`;
}

function told({ type, player, data }) {
  if (type === "kill") return html`<b>${data.killer}</b> killed <b>${data.victim}</b> with ${data.weapon ?? "something"}`;
  if (type === "death") return html`<b>${data.victim ?? player}</b> died of ${data.cause ?? "something"}`;
  return html`<b>${player}</b> ${type}`;
}

/** Positions from above: x to the right, z (or y, where all z are alike) down, scaled to whoever is furthest out. */
function RoomMap({ players, theme }) {
  const canvas = useRef(null);
  const placed = players.filter(({ position }) => position);
  useEffect(() => {
    const context = canvas.current.getContext("2d");
    const style = getComputedStyle(canvas.current);
    const scale = devicePixelRatio || 1;
    canvas.current.width = canvas.current.height = MAP_SIZE * scale;
    context.scale(scale, scale);
    context.clearRect(0, 0, MAP_SIZE, MAP_SIZE);
    if (!placed.length) return;
    const flat = placed.every(({ position }) => position[2] === placed[0].position[2]);
    const points = placed.map(({ player, present, position }) => ({
      player,
      present,
      x: position[0],
      y: position[flat ? 1 : 2],
    }));
    const xs = points.map(({ x }) => x);
    const ys = points.map(({ y }) => y);
    const [left, top] = [Math.min(...xs), Math.min(...ys)];
    const span = Math.max(Math.max(...xs) - left, Math.max(...ys) - top, 1);
    context.font = "11px system-ui";
    for (const { player, present, x, y } of points) {
      const [px, py] = [
        MARGIN + ((x - left) / span) * (MAP_SIZE - 2 * MARGIN),
        MARGIN + ((y - top) / span) * (MAP_SIZE - 2 * MARGIN),
      ];
      context.fillStyle = style.getPropertyValue(present ? "--line-1" : "--soft");
      context.beginPath();
      context.arc(px, py, 4, 0, 2 * Math.PI);
      context.fill();
      if (points.length <= 24) {
        context.fillStyle = style.getPropertyValue("--text");
        const { width } = context.measureText(player);
        // Beside its dot, on the side where there is room.
        context.fillText(player, px + 8 + width < MAP_SIZE ? px + 7 : px - 7 - width, py + 4);
      }
    }
  }, [players, theme]);
  return html`<section class="card"><h2>Map</h2><canvas ref=${canvas} class="map" width=${MAP_SIZE} height=${MAP_SIZE} role="img"
    aria-label=${`${placed.length} players by their last position; the table below names them`}></canvas></section>`;
}
