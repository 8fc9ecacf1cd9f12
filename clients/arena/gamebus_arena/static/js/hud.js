/** Everything around the picture: scores, kills, chat, health, the state of the connection. Text is set as text, never as markup. */

import { colourOf } from "./colours.js";
import { shown } from "./world.js";

const FEED_LINES = 5;
const FEED_MS = 9_000;
const CHAT_LINES = 60;
const find = (id) => document.getElementById(id);

export class Hud {
  #me = null;
  #pending = new Map();
  #bannerTimer = 0;
  #talkTimer = 0;
  #scores = "";
  #badge = {};

  entered(me) {
    this.#me = me;
  }

  // Connection

  /** @param state `connected`, `resumed`, `waiting` or `offline`. */
  badge(state, text) {
    if (this.#badge.state === state && this.#badge.text === text) return;
    this.#badge = { state, text };
    const badge = find("badge");
    badge.dataset.state = state;
    badge.querySelector("span").textContent = text;
  }

  readouts(pingMs, loss) {
    find("ping").textContent = pingMs === null ? "–" : `${Math.max(1, Math.round(pingMs))} ms`;
    find("loss").textContent = loss === null ? "–" : `${(loss * 100).toFixed(loss < 0.1 ? 1 : 0)} %`;
    find("loss").dataset.bad = loss !== null && loss > 0.05 ? "yes" : "no";
  }

  // The game

  round(round, kills) {
    const element = find("round");
    element.hidden = round === 0;
    element.querySelector("b").textContent = `Round ${round}`;
    element.querySelector("span").textContent = `first to ${kills}`;
    find("round-again").textContent = `Round ${round}, first to ${kills}`;
  }

  health(health, dashReady) {
    find("health-number").textContent = String(health);
    find("health").dataset.low = health > 0 && health <= 25 ? "yes" : "no";
    find("health-bar").setAttribute("aria-valuenow", String(health));
    [...find("health-bar").children].forEach((pip, index) => {
      pip.dataset.on = health > index * 25 ? "yes" : "no";
    });
    find("dash-ready").dataset.on = dashReady ? "yes" : "no";
    find("dash").dataset.on = dashReady ? "yes" : "no";
    document.body.dataset.low = health > 0 && health <= 25 ? "yes" : "no";
  }

  banner(text, tone = "plain", ms = 2_200) {
    const banner = find("banner");
    banner.textContent = text;
    banner.dataset.tone = tone;
    clearTimeout(this.#bannerTimer);
    if (ms > 0) this.#bannerTimer = setTimeout(() => this.banner("", "plain", 0), ms);
  }

  scores(ranking) {
    const key = JSON.stringify(
      ranking.map(({ name, kills, deaths, health }) => [name, kills, deaths, health > 0]),
    );
    if (key === this.#scores) return;
    this.#scores = key;
    const rows = ranking.map((player, place) => {
      const row = document.createElement("tr");
      row.dataset.player = player.name;
      if (player.name === this.#me) row.dataset.me = "";
      if (player.health <= 0) row.dataset.dead = "";
      const head = element("th", { scope: "row" });
      const dot = element("i", { "aria-hidden": "true", class: player.bot ? "bot" : "person" });
      dot.style.background = colourOf(player.name, this.#me);
      head.append(dot, element("span", { class: "name" }, shown(player.name)));
      if (player.name === this.#me) head.append(element("small", {}, "you"));
      else if (player.bot) head.append(element("small", {}, "bot"));
      if (place === 0 && player.kills > 0)
        head.append(
          element("small", { class: "lead", role: "img", "aria-label": "leads", title: "leads" }, "★"),
        );
      row.append(head, element("td", {}, String(player.kills)), element("td", {}, String(player.deaths)));
      return row;
    });
    find("scores")
      .querySelector("tbody")
      .replaceChildren(...rows);
  }

  kill({ killer, victim, weapon }, cursor) {
    const line = element("li", {});
    line.dataset.cursor = cursor;
    if (killer === this.#me || victim === this.#me) line.dataset.me = "";
    line.append(
      this.#name(killer),
      element("i", { "aria-label": `killed with ${weapon}` }, "⟶"),
      this.#name(victim),
    );
    const feed = find("feed");
    feed.append(line);
    while (feed.children.length > FEED_LINES) feed.firstElementChild.remove();
    setTimeout(() => line.remove(), FEED_MS);
  }

  // Chat

  /** What one has said and nobody has taken yet. */
  saying(id, text) {
    const line = this.#line(this.#me, text);
    line.dataset.pending = "";
    this.#pending.set(id, line);
  }

  notSaid(id) {
    const line = this.#pending.get(id);
    this.#pending.delete(id);
    if (line === undefined) return;
    delete line.dataset.pending;
    line.dataset.failed = "";
    line.append(element("small", {}, "not sent"));
  }

  said(player, text, id, cursor) {
    if (player === this.#me) {
      this.#pending.get(id)?.remove();
      this.#pending.delete(id);
    }
    this.#line(player, text).dataset.cursor = cursor;
  }

  note(text) {
    const line = element("li", {}, text);
    line.dataset.note = "";
    this.#append(line);
  }

  #line(player, text) {
    const line = element("li", {});
    line.append(this.#name(player), element("span", { class: "text" }, text));
    this.#append(line);
    return line;
  }

  #append(line) {
    const lines = find("lines");
    lines.append(line);
    while (lines.children.length > CHAT_LINES) lines.firstElementChild.remove();
    lines.scrollTop = lines.scrollHeight;
    document.body.dataset.talk = "";
    clearTimeout(this.#talkTimer);
    this.#talkTimer = setTimeout(() => delete document.body.dataset.talk, 9_000);
  }

  #name(player) {
    const name = element("b", {}, shown(player));
    name.style.color = colourOf(player, this.#me);
    return name;
  }
}

function element(tag, attributes, text) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
