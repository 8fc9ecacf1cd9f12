/** What flies and fades: shots, sparks, rings, numbers. Bounded: past the bound the oldest go. Metres and milliseconds. */

import { BODY, reach, SHOT_SPEED } from "./ground.js";

const MOST_SPARKS = 500;
const MOST_SHOTS = 200;
/** A shot of somebody else is heard of late; it flies a little faster until it is where it should be. */
const CATCH_UP = 1.35;

export class Effects {
  shots = [];
  sparks = [];
  rings = [];
  marks = [];
  /** How much the picture shakes, 0..1. */
  shake = 0;

  /** @param lateMs how long ago it was fired. */
  shot(by, x, z, heading, ground, lateMs, colour) {
    const range = reach(ground, x, z, heading);
    this.shots.push({ by, x, z, heading, range, flown: 0, behind: Math.min(lateMs, 400), colour });
    if (this.shots.length > MOST_SHOTS) this.shots.shift();
    this.sparkle(x + Math.cos(heading), z + Math.sin(heading), 3, colour, 5, heading, 0.5);
  }

  /** Sparks from a point, in all directions or around one. */
  sparkle(x, z, count, colour, speed, heading = 0, spread = Math.PI) {
    for (let index = 0; index < count; index += 1) {
      const way = heading + (Math.random() * 2 - 1) * spread;
      const pace = speed * (0.3 + Math.random() * 0.9);
      const life = 180 + Math.random() * 380;
      this.sparks.push({ x, z, vx: Math.cos(way) * pace, vz: Math.sin(way) * pace, age: 0, life, colour });
    }
    if (this.sparks.length > MOST_SPARKS) this.sparks.splice(0, this.sparks.length - MOST_SPARKS);
  }

  ring(x, z, colour, size = 3, life = 420) {
    this.rings.push({ x, z, colour, size, life, age: 0 });
    if (this.rings.length > 40) this.rings.shift();
  }

  /** A word that rises from where something happened. */
  mark(x, z, text, colour) {
    this.marks.push({ x, z, text, colour, age: 0, life: 800 });
    if (this.marks.length > 20) this.marks.shift();
  }

  burst(x, z, colour) {
    this.sparkle(x, z, 46, colour, 13);
    this.sparkle(x, z, 14, "#ffffff", 8);
    this.ring(x, z, colour, 5, 600);
    this.ring(x, z, "#ffffff", 2.5, 300);
  }

  /** @param bodies where others are drawn, `[name, {x, z}]`: a shot ends at a body, as far as can be seen here. */
  step(seconds, bodies) {
    const ms = seconds * 1_000;
    for (const shot of this.shots) {
      const faster = shot.behind > 0 ? CATCH_UP : 1;
      shot.behind -= ms * (faster - 1);
      const before = shot.flown;
      shot.flown = Math.min(shot.range, shot.flown + SHOT_SPEED * seconds * faster);
      const headX = shot.x + Math.cos(shot.heading) * shot.flown;
      const headZ = shot.z + Math.sin(shot.heading) * shot.flown;
      for (const [name, body] of bodies) {
        if (name === shot.by) continue;
        const [fromX, fromZ] = [
          shot.x + Math.cos(shot.heading) * before,
          shot.z + Math.sin(shot.heading) * before,
        ];
        if (between(fromX, fromZ, headX, headZ, body.x, body.z) < BODY) shot.range = shot.flown;
      }
      if (shot.flown >= shot.range) {
        shot.over = true;
        this.sparkle(headX, headZ, 7, shot.colour, 7, shot.heading + Math.PI, 1.1);
      }
    }
    this.shots = this.shots.filter((shot) => !shot.over);
    for (const spark of this.sparks) {
      spark.age += ms;
      spark.x += spark.vx * seconds;
      spark.z += spark.vz * seconds;
      spark.vx *= 1 - 4 * seconds;
      spark.vz *= 1 - 4 * seconds;
    }
    this.sparks = alive(this.sparks);
    for (const one of [...this.rings, ...this.marks]) one.age += ms;
    this.rings = alive(this.rings);
    this.marks = alive(this.marks);
    this.shake = Math.max(0, this.shake - seconds * 2.4);
  }
}

function alive(things) {
  return things.filter(({ age, life }) => age < life);
}

/** Distance of a point from a segment. */
function between(fromX, fromZ, toX, toZ, x, z) {
  const square = (toX - fromX) ** 2 + (toZ - fromZ) ** 2;
  const part = square === 0 ? 0 : ((x - fromX) * (toX - fromX) + (z - fromZ) * (toZ - fromZ)) / square;
  const near = Math.max(0, Math.min(1, part));
  return Math.hypot(fromX + (toX - fromX) * near - x, fromZ + (toZ - fromZ) * near - z);
}
