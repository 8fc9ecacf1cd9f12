/** Keys, mouse and two thumbs, as one intention: where to walk, where to aim, whether to shoot. */

const KEYS = {
  KeyW: [0, -1],
  ArrowUp: [0, -1],
  KeyS: [0, 1],
  ArrowDown: [0, 1],
  KeyA: [-1, 0],
  ArrowLeft: [-1, 0],
  KeyD: [1, 0],
  ArrowRight: [1, 0],
};
const REACH = 52;
const DEAD_ZONE = 0.18;
const SHOOTS_FROM = 0.45;

/** One thumb's circle. It begins where the thumb comes down in its half of the screen. */
class Stick {
  #element;
  #knob;
  #pointer = null;
  #from = null;
  x = 0;
  y = 0;

  constructor(element) {
    this.#element = element;
    this.#knob = element.querySelector("i");
  }

  get held() {
    return this.#pointer !== null;
  }

  get size() {
    return Math.hypot(this.x, this.y);
  }

  down(event) {
    if (this.held) return;
    this.#pointer = event.pointerId;
    this.#from = [event.clientX, event.clientY];
    const { offsetWidth, offsetHeight } = this.#element;
    const left = event.clientX - offsetWidth / 2;
    const top = event.clientY - offsetHeight / 2;
    this.#element.style.translate = "none";
    this.#element.style.inset = `${top}px auto auto ${left}px`;
    this.#element.dataset.held = "";
    this.#show(0, 0);
  }

  moved(event) {
    if (event.pointerId !== this.#pointer) return;
    const x = event.clientX - this.#from[0];
    const y = event.clientY - this.#from[1];
    const size = Math.max(REACH, Math.hypot(x, y));
    this.#show(x / size, y / size);
  }

  up(event) {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = null;
    this.#element.removeAttribute("style");
    delete this.#element.dataset.held;
    this.#show(0, 0);
  }

  #show(x, y) {
    this.x = Math.hypot(x, y) < DEAD_ZONE ? 0 : x;
    this.y = Math.hypot(x, y) < DEAD_ZONE ? 0 : y;
    this.#knob.style.transform = `translate(${x * REACH}px, ${y * REACH}px)`;
  }
}

export class Input {
  #held = new Set();
  #mouse = null;
  #trigger = false;
  #dash = false;
  #heading = 0;
  #move;
  #aim;

  constructor(canvas) {
    this.#move = new Stick(document.getElementById("stick-move"));
    this.#aim = new Stick(document.getElementById("stick-aim"));
    addEventListener("keydown", (event) => this.#keyDown(event));
    addEventListener("keyup", (event) => this.#held.delete(event.code));
    addEventListener("blur", () => this.release());
    canvas.addEventListener("pointerdown", (event) => this.#pointerDown(event, canvas));
    addEventListener("pointermove", (event) => this.#pointerMoved(event));
    for (const name of ["pointerup", "pointercancel"])
      addEventListener(name, (event) => this.#pointerUp(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    const dash = document.getElementById("dash");
    dash.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.#dash = true;
    });
  }

  /** Let go of everything: another part of the page takes the keys. */
  release() {
    this.#held.clear();
    this.#trigger = false;
  }

  /** What is wanted now. @param me where oneself is on the screen, in CSS pixels. */
  read(me) {
    let x = this.#move.x;
    let y = this.#move.y;
    for (const code of this.#held) {
      const [dx, dy] = KEYS[code] ?? [0, 0];
      x += dx;
      y += dy;
    }
    const size = Math.max(1, Math.hypot(x, y));
    const walk = [x / size, y / size];
    if (this.#aim.size > 0) this.#heading = Math.atan2(this.#aim.y, this.#aim.x);
    else if (this.#mouse !== null) this.#heading = Math.atan2(this.#mouse[1] - me[1], this.#mouse[0] - me[0]);
    else if (x !== 0 || y !== 0) this.#heading = Math.atan2(y, x);
    const dash = this.#dash;
    this.#dash = false;
    return {
      walk,
      heading: this.#heading,
      shoot: this.#trigger || this.#held.has("Space") || this.#aim.size > SHOOTS_FROM,
      dash,
    };
  }

  #keyDown(event) {
    const elsewhere = event.target instanceof Element && event.target.closest("input, dialog, button");
    if (elsewhere || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.code.startsWith("Shift") && !event.repeat) this.#dash = true;
    if (event.code in KEYS || event.code === "Space") {
      this.#held.add(event.code);
      event.preventDefault();
    }
  }

  #pointerDown(event, canvas) {
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    if (event.pointerType === "mouse") {
      this.#mouse = [event.clientX, event.clientY];
      if (event.button === 0) this.#trigger = true;
      if (event.button === 2) this.#dash = true;
      return;
    }
    document.body.dataset.touch = "";
    this.#mouse = null;
    canvas.setPointerCapture(event.pointerId);
    (event.clientX < innerWidth / 2 ? this.#move : this.#aim).down(event);
  }

  #pointerMoved(event) {
    if (event.pointerType === "mouse") this.#mouse = [event.clientX, event.clientY];
    this.#move.moved(event);
    this.#aim.moved(event);
  }

  #pointerUp(event) {
    if (event.pointerType === "mouse" && event.button === 0) this.#trigger = false;
    this.#move.up(event);
    this.#aim.up(event);
  }
}
