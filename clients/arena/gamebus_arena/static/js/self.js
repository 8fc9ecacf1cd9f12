/** One's own body: it moves at once, and what the game server says of it (spawn, health) is obeyed. */

import { settle, WALK } from "./ground.js";

const SHOT_PAUSE_MS = 180;
const DASH_MS = 150;
const DASH_PAUSE_MS = 1_600;
const DASH_SPEED = 24;
/** How fast the walk follows the keys: a step that starts and ends at once looks like a machine. */
const GRIP_PER_S = 16;

export class Self {
  placed = false;
  x = 0;
  z = 0;
  vx = 0;
  vz = 0;
  heading = 0;
  dashReadyAt = 0;
  #dashUntil = 0;
  #dashWay = [0, 0];
  #nextShotAt = 0;

  place(x, z) {
    Object.assign(this, { x, z, vx: 0, vz: 0, placed: true });
    this.#dashUntil = 0;
  }

  get dashing() {
    return performance.now() < this.#dashUntil;
  }

  step(seconds, wanted, ground, now) {
    this.heading = wanted.heading;
    if (wanted.dash && now >= this.dashReadyAt) {
      const still = wanted.walk[0] === 0 && wanted.walk[1] === 0;
      this.#dashWay = still ? [Math.cos(wanted.heading), Math.sin(wanted.heading)] : wanted.walk;
      this.#dashUntil = now + DASH_MS;
      this.dashReadyAt = now + DASH_PAUSE_MS;
    }
    if (now < this.#dashUntil) {
      this.vx = this.#dashWay[0] * DASH_SPEED;
      this.vz = this.#dashWay[1] * DASH_SPEED;
    } else {
      const grip = 1 - Math.exp(-GRIP_PER_S * seconds);
      this.vx += (wanted.walk[0] * WALK - this.vx) * grip;
      this.vz += (wanted.walk[1] * WALK - this.vz) * grip;
      if (Math.hypot(this.vx, this.vz) < 0.05) this.vx = this.vz = 0;
    }
    // In steps shorter than a body, so that a slow frame does not carry it through a wall.
    const steps = Math.max(1, Math.ceil((Math.hypot(this.vx, this.vz) * seconds) / 0.5));
    const before = [this.x, this.z];
    for (let step = 0; step < steps; step += 1) {
      const x = this.x + (this.vx * seconds) / steps;
      const z = this.z + (this.vz * seconds) / steps;
      [this.x, this.z] = settle(ground, x, z);
    }
    // What a wall stopped is no velocity that others should be shown.
    if (seconds > 0) {
      this.vx = clampTo(this.vx, (this.x - before[0]) / seconds);
      this.vz = clampTo(this.vz, (this.z - before[1]) / seconds);
    }
  }

  /** Whether a shot may go now; it is taken to have gone. */
  trigger(now) {
    if (now < this.#nextShotAt) return false;
    this.#nextShotAt = now + SHOT_PAUSE_MS;
    return true;
  }
}

function clampTo(velocity, real) {
  return Math.abs(real) < Math.abs(velocity) ? real : velocity;
}
