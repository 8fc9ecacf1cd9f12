/** The page: the lobby, then one visit, drawn sixty times a second. */

import { Connection } from "./connection.js";
import { Game } from "./game.js";
import { Hud } from "./hud.js";
import { Input } from "./input.js";
import { Scene } from "./scene.js";
import { Sound } from "./sound.js";
import { shown } from "./world.js";

const NAME = "gamebus-arena-name";
const KEY = "gamebus-arena-key";
const READOUT_MS = 500;
const NO_SERVER_MS = 4_000;

const find = (id) => document.getElementById(id);
const canvas = find("scene");
const lobby = find("lobby");
const hud = new Hud();
const sound = new Sound();
const scene = new Scene(canvas);
const input = new Input(canvas);

async function askFor(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

/** A name for this tab; its key brings the same name back after a reload. */
async function claim(wanted) {
  const held = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  const query = new URLSearchParams({ name: held?.wanted === wanted ? held.player : wanted });
  if (held?.wanted === wanted) query.set("key", held.key);
  const { player, key, token } = await askFor(`token?${query}`);
  sessionStorage.setItem(KEY, JSON.stringify({ wanted, player, key }));
  localStorage.setItem(NAME, wanted);
  return { player, key, token };
}

async function enter(wanted) {
  const [settings, first] = await Promise.all([askFor("config"), claim(wanted)]);
  const game = new Game(hud, sound);
  let fresh = first.token;
  const token = async () => {
    const query = new URLSearchParams({ name: first.player, key: first.key });
    const given = fresh ?? (await askFor(`token?${query}`)).token;
    fresh = null;
    return given;
  };
  const connection = new Connection(settings, token, (name, message) => game.tell(name, message));
  game.attach(connection, first.player);
  await connection.open();
  // What the page knows, for the console and for tests.
  globalThis.arena = { game, connection, scene };
  return { game, connection };
}

function play({ game, connection }) {
  const begun = performance.now();
  let last = begun;
  let readAt = 0;
  const frame = (at) => {
    requestAnimationFrame(frame);
    const seconds = Math.min(0.1, Math.max(0, (at - last) / 1_000));
    last = at;
    const { self, world } = game;
    const view = game.step(seconds, input.read(scene.screenOf(self.x, self.z)));
    if (view === null) return;
    const ahead = game.alive ? 1.6 : 0;
    scene.follow(
      self.x + Math.cos(self.heading) * ahead,
      self.z + Math.sin(self.heading) * ahead,
      world.ground,
      seconds,
    );
    scene.draw(view);
    hud.health(world.players.get(game.me)?.health ?? 0, performance.now() >= self.dashReadyAt);
    document.body.dataset.alive = game.alive ? "yes" : "no";
    if (at - readAt < READOUT_MS) return;
    readAt = at;
    hud.readouts(connection.connected ? connection.pingMs : null, connection.loss());
    hud.scores(world.ranking());
    if (!world.known && at - begun > NO_SERVER_MS) hud.banner("Waiting for the game server", "plain", 1_000);
  };
  requestAnimationFrame(frame);
}

function wireChat(game) {
  const words = find("words");
  addEventListener("keydown", (event) => {
    if (event.target instanceof Element && event.target.closest("input, button, dialog")) return;
    if (event.code === "Enter") {
      event.preventDefault();
      openChat();
    } else if (event.code === "KeyM") toggleSound();
  });
  words.addEventListener("focus", () => {
    document.body.dataset.chat = "";
    input.release();
  });
  words.addEventListener("blur", () => delete document.body.dataset.chat);
  words.addEventListener("keydown", (event) => {
    if (event.code === "Escape") words.blur();
  });
  find("say").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = words.value.trim();
    words.value = "";
    words.blur();
    if (text !== "") game.say(text);
  });
  find("open-chat").addEventListener("click", openChat);
}

function openChat() {
  document.body.dataset.chat = "";
  find("words").focus();
}

function toggleSound(on) {
  sound.toggle(on);
  find("sound").setAttribute("aria-pressed", String(sound.on));
  find("sound").textContent = sound.on ? "sound on" : "sound off";
}

function wireTools() {
  find("sound").addEventListener("click", () => toggleSound());
  const scores = find("show-scores");
  scores.addEventListener("click", () => {
    const open = scores.getAttribute("aria-expanded") !== "true";
    scores.setAttribute("aria-expanded", String(open));
    document.body.toggleAttribute("data-scores", open);
  });
}

find("name").value = localStorage.getItem(NAME) ?? "";
lobby.addEventListener("cancel", (event) => event.preventDefault());
lobby.showModal();
wireTools();
find("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  find("play").disabled = true;
  find("problem").textContent = "";
  try {
    const visit = await enter(find("name").value.trim() || "player");
    if (Sound.wanted()) toggleSound(true);
    lobby.close();
    document.body.dataset.phase = "play";
    canvas.focus();
    wireChat(visit.game);
    hud.note(`You are ${shown(visit.game.me)}. Have fun.`);
    play(visit);
  } catch (error) {
    find("problem").textContent = `The arena cannot be entered: ${error.message}`;
    find("play").disabled = false;
  }
});
