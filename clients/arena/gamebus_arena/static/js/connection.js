/**
 * The wire: one GameClient, its clock made smooth, the ping, and the loss of one's own positions.
 *
 * Positions are sent with a sequence of their own, so that a tick that brings one back can be recognised.
 */

import { LossMeter } from "./loss.js";

const { GameClient, Interpolator } = globalThis.gamebus;

/** How late the others are drawn. */
export const DELAY_MS = 120;
/** A little less often than ticks come, so that hardly two of one player meet in a tick. */
const SEND_MS = 60;
const STILL_MS = 480;
const PING_MS = 2_000;
const HEARTBEAT_MS = 3_000;

export class Connection {
  poses = new Interpolator({ delayMs: DELAY_MS });
  pingMs = null;
  tickHz = 20;
  #room;
  #game;
  #loss = new LossMeter();
  #seq = 0;
  #sentAt = Number.NEGATIVE_INFINITY;
  #sent = null;
  #offset = null;
  #timers = [];

  /** @param token gives a fresh token; @param tell called as `tell(name, message)` with every message of the client. */
  constructor({ gateway, room }, token, tell) {
    this.#room = room;
    this.#game = new GameClient(gateway, token);
    for (const name of ["event", "presence", "joined", "reconnecting", "reconnected", "closed", "error"]) {
      this.#game.on(name, (message) => {
        if (name === "joined") this.#joined(message);
        tell(name, message);
      });
    }
    this.#game.on("tick", (tick) => this.#ticked(tick));
  }

  async open() {
    await this.#game.open();
    await this.#game.join(this.#room);
    this.#timers = [
      setInterval(() => void this.#ping(), PING_MS),
      setInterval(() => this.#game.heartbeat(this.#room), HEARTBEAT_MS),
    ];
    void this.#ping();
  }

  async close() {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#game.close();
  }

  get player() {
    return this.#game.player;
  }

  get connected() {
    return this.#game.connected;
  }

  statistics() {
    return this.#game.statistics();
  }

  /** Share of one's own positions that did not come back, or null. */
  loss() {
    return this.#loss.share(performance.now());
  }

  /** The gateway's time now, without the jumps that each new measurement makes. */
  now() {
    const local = performance.now();
    const told = this.#game.serverMs();
    if (told !== null) {
      const offset = told - local;
      const jump = this.#offset === null || Math.abs(offset - this.#offset) > 250;
      this.#offset = jump ? offset : this.#offset + (offset - this.#offset) * 0.02;
    }
    return this.#offset === null ? null : local + this.#offset;
  }

  /** Send one's place when it is time to: seldom while nothing changes. */
  move({ x, z, vx, vz, heading }) {
    const now = performance.now();
    const data = [round(x), 0, round(z), round(vx), 0, round(vz), round(heading, 1_000)];
    const same = this.#sent !== null && data.every((value, index) => value === this.#sent[index]);
    if (now - this.#sentAt < (same ? STILL_MS : SEND_MS)) return;
    this.#sentAt = now;
    this.#sent = data;
    this.#seq += 1;
    // What cannot be sent because there is no connection is lost as well.
    this.#loss.sent(this.#seq, now);
    this.#game.send(this.#room, "position", [this.#seq, ...data]);
  }

  /** Tell where one has jumped to at once. */
  jumped() {
    this.#sentAt = Number.NEGATIVE_INFINITY;
  }

  /** A shot is durable; one that cannot go out now is not worth sending later. */
  shoot({ x, z, heading }) {
    const now = this.now();
    if (!this.#game.connected || now === null) return false;
    const data = {
      x: round(x),
      z: round(z),
      heading: round(heading, 10_000),
      at_ms: Math.round(now - DELAY_MS),
    };
    this.#game.publish(this.#room, "shot", data, { timeoutMs: 1_000 }).catch(() => {});
    return true;
  }

  /** Say something; resolves when it is safe on all replicas, however often the connection breaks until then. */
  chat(text, id) {
    return this.#game.chat(this.#room, text, { id });
  }

  #joined(joined) {
    this.tickHz = joined.tickHz;
    const now = this.now();
    if (now !== null) this.poses.joined(joined, now);
    this.jumped();
  }

  #ticked(tick) {
    this.poses.tick(tick);
    const own = tick.positions.get(this.#game.player);
    if (own) this.#loss.seen(own[0]);
  }

  async #ping() {
    try {
      this.pingMs = await this.#game.ping();
    } catch {
      this.pingMs = null;
    }
  }
}

function round(value, precision = 100) {
  return Math.round(value * precision) / precision;
}
