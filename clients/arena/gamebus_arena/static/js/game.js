/** One visit to the arena: what the wire tells becomes what is seen and heard, and what is wanted goes out. */

import { colourOf, freeColourOf, HEAL } from "./colours.js";
import { DELAY_MS } from "./connection.js";
import { Effects } from "./effects.js";
import { Self } from "./self.js";
import { shown, World } from "./world.js";

/** Older events are those of a reconnect: they count, and make no noise. */
const FRESH_MS = 2_500;
/** Until the others' pages have told where they begin again. */
const HIDDEN_MS = 300;
const HURT_MS = 110;
const LOG = 400;

export class Game {
  world = new World();
  effects = new Effects();
  self = new Self();
  /** The last events in the order in which they came, each once: for the console, and for tests. */
  log = [];
  #me;
  #connection;
  #hud;
  #sound;
  #hurtAt = new Map();
  #bodies = [];
  #reconnectAt = null;
  #away = false;

  constructor(hud, sound) {
    this.#hud = hud;
    this.#sound = sound;
  }

  /** @param connection not open yet. */
  attach(connection, me) {
    this.#connection = connection;
    this.#me = me;
    this.#hud.entered(me);
  }

  get me() {
    return this.#me;
  }

  get alive() {
    return this.world.alive(this.#me);
  }

  /** Who is drawn where: `[{name, x, z, ...}]`. */
  get bodies() {
    return this.#bodies;
  }

  // From the wire

  tell(name, message) {
    const told = {
      event: () => this.#event(message),
      presence: () => this.#presence(message),
      joined: () => this.#joined(message),
      reconnecting: () => this.#reconnecting(message),
      closed: () => this.#closed(message),
    }[name];
    told?.();
  }

  #event(event) {
    this.log.push({
      type: event.type,
      player: event.player,
      data: event.data,
      id: event.id,
      cursor: event.cursor,
    });
    if (this.log.length > LOG) this.log.shift();
    const now = this.#connection.now() ?? event.serverMs;
    const fresh = now - event.serverMs < FRESH_MS;
    if (event.type === "chat") this.#hud.said(event.player, event.data.text, event.id, event.cursor);
    else if (event.type === "kill") this.#killed(event, fresh);
    else if (event.type === "shot" && fresh) this.#shot(event, now);
    else if (event.type === "arena") this.#arena(event, fresh);
  }

  #shot({ player, data, serverMs }, now) {
    // One's own was shown when it was fired.
    if (player === this.#me || typeof data?.heading !== "number") return;
    const { x, z, heading } = data;
    this.effects.shot(player, x, z, heading, this.world.ground, now - serverMs, colourOf(player, this.#me));
    this.#sound.shot(this.#near(x, z));
  }

  #killed({ data, cursor }, fresh) {
    this.#hud.kill(data, cursor);
    if (!fresh) return;
    if (data.victim === this.#me) this.#hud.banner(`${shown(data.killer)} got you`, "bad", 2_400);
    else if (data.killer === this.#me) {
      this.#hud.banner(`You got ${shown(data.victim)}`, "good", 1_800);
      this.#sound.kill();
    }
  }

  #arena({ data, serverMs }, fresh) {
    const before = this.world.players.get(this.#me)?.health ?? 0;
    const told = this.world.apply(data, serverMs);
    if (told === null) return;
    this.#hud.round(this.world.round, this.world.roundKills);
    if (told.kind === "state") this.#placeSelf();
    else if (told.kind === "spawn") this.#spawned(told, fresh);
    else if (told.kind === "round") {
      const who = told.winner === this.#me ? "You win" : `${shown(told.winner)} wins`;
      if (fresh) this.#hud.banner(`${who} the round with ${told.kills} kills`, "round", 5_000);
    } else if (told.kind === "hit" && fresh) this.#hit(told);
    else if (told.kind === "medkit" && fresh && told.player === this.#me) {
      this.effects.mark(this.self.x, this.self.z, `+${Math.max(0, told.health - before)}`, HEAL);
      this.effects.ring(this.self.x, this.self.z, HEAL, 2.5);
      this.#sound.medkit();
    }
  }

  #hit({ victim, by, x, z, health }) {
    const colour = colourOf(victim, this.#me);
    const body = this.#bodies.find(({ name }) => name === victim) ?? { x, z };
    this.#hurtAt.set(victim, performance.now());
    this.effects.sparkle(body.x, body.z, 12, colour, 9);
    if (by === this.#me) this.effects.mark(body.x, body.z, health === 0 ? "✕" : "25", "#ffffff");
    if (health === 0) {
      this.effects.burst(body.x, body.z, colour);
      this.#sound.boom(this.#near(x, z));
    } else this.#sound.hit(this.#near(x, z));
    if (victim !== this.#me) return;
    this.effects.shake = Math.min(1, this.effects.shake + (health === 0 ? 1 : 0.55));
    this.#sound.hurt();
  }

  #spawned({ player, x, z }, fresh) {
    if (player === this.#me) {
      this.self.place(x, z);
      this.#connection.jumped();
    }
    if (fresh) {
      this.effects.ring(x, z, colourOf(player, this.#me), 4, 700);
      this.effects.ring(x, z, "#ffffff", 2, 400);
    }
  }

  /** A page that comes back while its player is still in the game begins where the game server has it. */
  #placeSelf() {
    const told = this.world.players.get(this.#me)?.told;
    if (!this.self.placed && this.alive && told !== undefined) this.self.place(told.x, told.z);
  }

  #presence({ joined, left }) {
    for (const name of left) {
      if (name === this.#me) continue;
      this.world.left(name);
      freeColourOf(name);
    }
    for (const name of joined)
      if (name !== this.#me && !name.endsWith(".bot")) this.#hud.note(`${shown(name)} came in`);
  }

  #joined({ recovered }) {
    this.#reconnectAt = null;
    if (!this.#away) {
      this.#hud.badge("connected", "connected");
      return;
    }
    this.#away = false;
    const text = recovered === false ? "back, some events are lost" : "resumed, nothing missed";
    this.#hud.badge("resumed", text);
    if (recovered === false) this.#hud.note("The way back was too long: some messages are lost here.");
    setTimeout(() => {
      if (this.#reconnectAt === null && this.#connection.connected) this.#hud.badge("connected", "connected");
    }, 4_000);
  }

  #reconnecting({ delayMs }) {
    this.#away = true;
    this.#reconnectAt = performance.now() + delayMs;
  }

  #closed({ code, reason }) {
    this.#reconnectAt = null;
    const words = code === 4501 ? "You play in another window" : `Disconnected: ${reason || code}`;
    this.#hud.badge("offline", words);
    this.#hud.banner(`${words}. Load the page again to come back.`, "bad", 0);
  }

  // To the wire

  say(text) {
    const id = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16)).join("");
    this.#hud.saying(id, text);
    this.#connection.chat(text, id).catch(() => this.#hud.notSaid(id));
  }

  /** One frame. @param wanted what the player wants, see `input.js`. */
  step(seconds, wanted) {
    const now = this.#connection.now();
    if (now === null) return null;
    const local = performance.now();
    if (this.#reconnectAt !== null) {
      const left = Math.max(0, this.#reconnectAt - local) / 1_000;
      this.#hud.badge("waiting", left > 0 ? `reconnecting in ${left.toFixed(1)} s` : "reconnecting…");
    }
    if (this.alive && this.self.placed) this.#act(seconds, wanted, local);
    this.#bodies = this.#drawn(now, local);
    this.effects.step(
      seconds,
      this.#bodies.map((body) => [body.name, body]),
    );
    return {
      now,
      me: this.#me,
      alive: this.alive,
      self: this.self,
      ground: this.world.ground,
      medkits: this.world.medkits,
      bodies: this.#bodies,
      effects: this.effects,
    };
  }

  #act(seconds, wanted, local) {
    const { self } = this;
    const wasReady = local >= self.dashReadyAt;
    self.step(seconds, wanted, this.world.ground, local);
    if (wasReady && self.dashing) this.#sound.dash();
    if (self.dashing) this.effects.sparkle(self.x, self.z, 3, colourOf(this.#me, this.#me), 3);
    this.#connection.move(self);
    if (!wanted.shoot || !self.trigger(local) || !this.#connection.shoot(self)) return;
    const colour = colourOf(this.#me, this.#me);
    this.effects.shot(this.#me, self.x, self.z, self.heading, this.world.ground, 0, colour);
    this.effects.shake = Math.min(1, this.effects.shake + 0.07);
    this.#sound.shot(0.8);
  }

  #drawn(now, local) {
    const poses = this.#connection.poses.sample(now);
    const bodies = [];
    for (const player of this.world.players.values()) {
      const { name, health, bot, protectedUntil, spawnedAt } = player;
      if (health <= 0) continue;
      const own = name === this.#me;
      const pose = own ? this.self.placed && this.self : poses.get(name);
      // Between the old place and the new one nobody is drawn.
      if (!pose || (!own && now - DELAY_MS - spawnedAt < HIDDEN_MS)) continue;
      bodies.push({
        name,
        x: pose.x,
        z: pose.z,
        heading: pose.heading ?? 0,
        health,
        bot,
        guarded: protectedUntil > now,
        hurt: local - (this.#hurtAt.get(name) ?? Number.NEGATIVE_INFINITY) < HURT_MS,
        away: own && !this.#connection.connected,
      });
    }
    return bodies;
  }

  /** How loud something is: 1 here, 0 far away. */
  #near(x, z) {
    return Math.max(0, 1 - Math.hypot(x - this.self.x, z - this.self.z) / 30);
  }
}
