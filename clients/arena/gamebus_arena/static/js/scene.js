/** The picture: a canvas in device pixels, drawn from scratch each frame. Draws only; knows no rules. */

import { colourOf, DANGER, faded, HEAL, OWN } from "./colours.js";
import { BODY } from "./ground.js";
import { drawWalls, Floor } from "./scenery.js";
import { shown } from "./world.js";

/** Square metres in view, whatever the screen: nobody sees more than others on a larger one. */
const VIEW_M2 = 560;
const FULL = 100;
const NARROW = 760;
const TOP = 70;
const BOTTOM = 210;

export class Scene {
  #canvas;
  #context;
  #scale = 30;
  #camera = { x: 0, z: 0 };
  #size = [0, 0];
  /** What words cover at the top and thumbs at the bottom of the screen: oneself is never drawn there. */
  #covered = { top: 0, bottom: 0 };
  #floor = new Floor();
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    const resized = () => this.#resize();
    new ResizeObserver(resized).observe(canvas);
    resized();
  }

  /** CSS pixels of a place. */
  screenOf(x, z) {
    return [
      this.#size[0] / 2 + (x - this.#camera.x) * this.#scale,
      (this.#covered.top + this.#size[1] - this.#covered.bottom) / 2 + (z - this.#camera.z) * this.#scale,
    ];
  }

  /** Let the camera follow a place. */
  follow(x, z, ground, seconds) {
    const soft = 1 - Math.exp(-9 * seconds);
    const jump = Math.hypot(x - this.#camera.x, z - this.#camera.z) > 14;
    for (const [axis, wanted, half, pixels] of [
      ["x", x, ground.half[0], this.#size[0]],
      ["z", z, ground.half[1], this.#size[1] - this.#covered.top - this.#covered.bottom],
    ]) {
      // The ground fills the screen where it is large enough.
      const free = Math.max(0, half + 3 - pixels / this.#scale / 2);
      const target = Math.max(-free, Math.min(free, wanted));
      this.#camera[axis] = jump ? target : this.#camera[axis] + (target - this.#camera[axis]) * soft;
    }
  }

  /** @param view what there is to see, see `main.js`. */
  draw(view) {
    const context = this.#context;
    const ratio = devicePixelRatio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#060912";
    context.fillRect(0, 0, this.#size[0], this.#size[1]);
    const shake = this.#calm.matches ? 0 : view.effects.shake ** 2 * 9;
    const [left, top] = this.screenOf(0, 0);
    const sway = () => (Math.random() * 2 - 1) * shake;
    context.setTransform(
      this.#scale * ratio,
      0,
      0,
      this.#scale * ratio,
      (left + sway()) * ratio,
      (top + sway()) * ratio,
    );
    this.#floor.draw(context, view.ground, this.#scale * ratio);
    for (const medkit of view.medkits) this.#medkit(medkit, view.now);
    this.#rings(view.effects.rings);
    drawWalls(context, view.ground, this.#camera);
    for (const body of view.bodies) this.#body(body, view);
    this.#lights(view.effects);
    for (const body of view.bodies) this.#label(body, view);
    this.#marks(view.effects.marks);
    if (view.self.placed && view.alive) this.#aim(view.self);
    if (this.#size[0] >= 900) this.#radar(view);
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    this.#size = [clientWidth, clientHeight];
    this.#canvas.width = Math.round(clientWidth * devicePixelRatio);
    this.#canvas.height = Math.round(clientHeight * devicePixelRatio);
    const thumbs = matchMedia("(hover: none) and (pointer: coarse)").matches;
    this.#covered = {
      top: clientWidth < NARROW ? Math.min(TOP, clientHeight / 6) : 0,
      bottom: thumbs ? Math.min(BOTTOM, clientHeight / 3) : 0,
    };
    const free = clientHeight - this.#covered.top - this.#covered.bottom;
    this.#scale = Math.sqrt((clientWidth * free) / VIEW_M2);
  }

  #medkit({ x, z, backMs }, now) {
    const context = this.#context;
    const there = backMs <= now;
    const beat = there && !this.#calm.matches ? 1 + Math.sin(now / 260) * 0.06 : 1;
    context.save();
    context.translate(x, z);
    context.scale(beat, beat);
    context.strokeStyle = faded(HEAL, there ? 0.55 : 0.16);
    context.lineWidth = 0.08;
    context.beginPath();
    context.arc(0, 0, 1.15, 0, 2 * Math.PI);
    context.stroke();
    if (there) {
      context.fillStyle = faded(HEAL, 0.13);
      context.fill();
      context.fillStyle = HEAL;
      context.fillRect(-0.2, -0.62, 0.4, 1.24);
      context.fillRect(-0.62, -0.2, 1.24, 0.4);
    }
    context.restore();
  }

  #body({ name, x, z, heading, health, bot, guarded, hurt, away }, { me, now }) {
    const context = this.#context;
    const colour = colourOf(name, me);
    context.save();
    context.globalAlpha = away ? 0.45 : 1;
    context.translate(x, z);
    context.fillStyle = "rgb(0 0 0 / 45%)";
    context.beginPath();
    context.ellipse(0.12, 0.3, BODY * 1.02, BODY * 0.9, 0, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = faded(colour, 0.16);
    context.beginPath();
    context.arc(0, 0, BODY * 1.9, 0, 2 * Math.PI);
    context.fill();
    context.save();
    context.rotate(heading);
    context.fillStyle = "#dfe8ff";
    context.fillRect(BODY * 0.5, -0.15, 0.85, 0.3);
    context.fillStyle = faded(colour, 0.9);
    context.fillRect(BODY * 0.5 + 0.55, -0.19, 0.32, 0.38);
    const shade = context.createRadialGradient(-0.1, -0.2, 0.05, 0, 0, BODY);
    shade.addColorStop(0, hurt ? "#ffffff" : colour);
    shade.addColorStop(1, hurt ? "#ffd0d8" : faded(colour, 0.55));
    context.fillStyle = shade;
    context.strokeStyle = name === me ? "#ffffff" : colour;
    context.lineWidth = 0.1;
    shape(context, bot ? 6 : 0, BODY);
    context.fill();
    context.stroke();
    context.fillStyle = "#0a1020";
    shape(context, bot ? 6 : 0, BODY * 0.36);
    context.fill();
    context.restore();
    this.#pips(health, colour);
    if (guarded) {
      context.strokeStyle = faded("#ffffff", 0.8);
      context.lineWidth = 0.09;
      context.setLineDash([0.5, 0.4]);
      context.lineDashOffset = -now / 260;
      context.beginPath();
      context.arc(0, 0, BODY * 1.75, 0, 2 * Math.PI);
      context.stroke();
    }
    context.restore();
  }

  /** Health as four arcs around the body: one for each hit that it still takes. */
  #pips(health, colour) {
    const context = this.#context;
    context.lineWidth = 0.14;
    context.lineCap = "round";
    const quarter = Math.PI / 2;
    for (let pip = 0; pip < 4; pip += 1) {
      const from = -Math.PI / 2 + pip * quarter + 0.16;
      context.strokeStyle = health > pip * (FULL / 4) ? colour : "rgb(160 180 220 / 18%)";
      context.beginPath();
      context.arc(0, 0, BODY * 1.38, from, from + quarter - 0.32);
      context.stroke();
    }
  }

  #label({ name, x, z, bot }, { me }) {
    const context = this.#context;
    const colour = name === me ? "#ffffff" : "#c9d6f5";
    context.font = `600 ${13 / this.#scale}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.lineWidth = 3 / this.#scale;
    context.strokeStyle = "rgb(6 9 18 / 80%)";
    const text = name === me ? "you" : `${shown(name)}${bot ? " · bot" : ""}`;
    context.strokeText(text, x, z - BODY * 1.9);
    context.fillStyle = colour;
    context.fillText(text, x, z - BODY * 1.9);
  }

  #rings(rings) {
    const context = this.#context;
    for (const { x, z, colour, size, life, age } of rings) {
      const part = age / life;
      context.strokeStyle = faded(colour, 1 - part);
      context.lineWidth = 0.3 * (1 - part) + 0.03;
      context.beginPath();
      context.arc(x, z, size * (0.15 + 0.85 * Math.sqrt(part)), 0, 2 * Math.PI);
      context.stroke();
    }
  }

  #lights({ shots, sparks }) {
    const context = this.#context;
    context.globalCompositeOperation = "lighter";
    context.lineCap = "round";
    for (const { x, z, heading, flown, colour } of shots) {
      const [dx, dz] = [Math.cos(heading), Math.sin(heading)];
      const tail = Math.max(0.9, flown - 1.6);
      for (const [width, ink] of [
        [0.42, faded(colour, 0.34)],
        [0.15, "#ffffff"],
      ]) {
        context.strokeStyle = ink;
        context.lineWidth = width;
        context.beginPath();
        context.moveTo(x + dx * tail, z + dz * tail);
        context.lineTo(x + dx * Math.max(tail, flown), z + dz * Math.max(tail, flown));
        context.stroke();
      }
    }
    for (const { x, z, vx, vz, colour, age, life } of sparks) {
      context.strokeStyle = faded(colour, 1 - age / life);
      context.lineWidth = 0.12;
      context.beginPath();
      context.moveTo(x, z);
      context.lineTo(x - vx * 0.03, z - vz * 0.03);
      context.stroke();
    }
    context.globalCompositeOperation = "source-over";
  }

  #marks(marks) {
    const context = this.#context;
    context.textAlign = "center";
    context.font = `800 ${17 / this.#scale}px system-ui, sans-serif`;
    for (const { x, z, text, colour, age, life } of marks) {
      const part = age / life;
      context.fillStyle = faded(colour, 1 - part ** 2);
      context.fillText(text, x, z - 1.2 - part * 1.3);
    }
  }

  #aim({ x, z, heading }) {
    const context = this.#context;
    for (let dot = 0; dot < 6; dot += 1) {
      const far = 2.4 + dot * 1.1;
      context.fillStyle = faded(OWN, 0.4 - dot * 0.055);
      context.beginPath();
      context.arc(x + Math.cos(heading) * far, z + Math.sin(heading) * far, 0.07, 0, 2 * Math.PI);
      context.fill();
    }
  }

  #radar({ ground, bodies, me, medkits, now }) {
    const context = this.#context;
    const ratio = devicePixelRatio;
    const scale = 200 / (2 * ground.half[0]);
    const [width, height] = [2 * ground.half[0] * scale, 2 * ground.half[1] * scale];
    const centre = [this.#size[0] - 20 - width / 2, this.#size[1] - 20 - height / 2];
    context.setTransform(scale * ratio, 0, 0, scale * ratio, centre[0] * ratio, centre[1] * ratio);
    context.fillStyle = "rgb(9 14 28 / 78%)";
    context.strokeStyle = "rgb(110 150 230 / 35%)";
    context.lineWidth = 1 / scale;
    context.beginPath();
    context.roundRect(
      -ground.half[0] - 1.5,
      -ground.half[1] - 1.5,
      2 * ground.half[0] + 3,
      2 * ground.half[1] + 3,
      2.5,
    );
    context.fill();
    context.stroke();
    context.fillStyle = "rgb(120 150 220 / 32%)";
    for (const [x, z, wide, deep] of ground.walls) context.fillRect(x, z, wide, deep);
    context.fillStyle = HEAL;
    for (const { x, z, backMs } of medkits) if (backMs <= now) context.fillRect(x - 0.7, z - 0.7, 1.4, 1.4);
    for (const { name, x, z, heading } of bodies) {
      context.fillStyle = name === me ? "#ffffff" : DANGER;
      context.save();
      context.translate(x, z);
      context.rotate(heading);
      context.beginPath();
      if (name === me) {
        context.moveTo(2, 0);
        context.lineTo(-1.3, 1.3);
        context.lineTo(-1.3, -1.3);
      } else context.arc(0, 0, 1, 0, 2 * Math.PI);
      context.fill();
      context.restore();
    }
  }
}

/** A circle (0 sides) or a regular shape. */
function shape(context, sides, radius) {
  context.beginPath();
  if (sides === 0) context.arc(0, 0, radius, 0, 2 * Math.PI);
  for (let side = 0; side < sides; side += 1) {
    const angle = (side / sides) * 2 * Math.PI;
    context.lineTo(Math.cos(angle) * radius * 1.08, Math.sin(angle) * radius * 1.08);
  }
  context.closePath();
}
