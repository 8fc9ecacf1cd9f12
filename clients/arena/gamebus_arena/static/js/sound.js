/** Sounds, made of oscillators and noise. Silent until somebody turns them on. */

const STORED = "gamebus-arena-sound";

export class Sound {
  #context = null;
  #on = false;

  get on() {
    return this.#on;
  }

  /** Whether sound was on when somebody played here last. */
  static wanted() {
    return localStorage.getItem(STORED) === "on";
  }

  toggle(on = !this.#on) {
    this.#on = on;
    localStorage.setItem(STORED, on ? "on" : "off");
    if (on) {
      this.#context ??= new AudioContext();
      void this.#context.resume();
    }
  }

  shot(near) {
    this.#tone("square", 720, 180, 0.09, 0.05 * near);
  }

  hit(near) {
    this.#tone("triangle", 260, 90, 0.12, 0.14 * near);
  }

  hurt() {
    this.#tone("sawtooth", 160, 60, 0.2, 0.16);
  }

  kill() {
    this.#tone("square", 520, 520, 0.08, 0.07);
    this.#tone("square", 780, 780, 0.14, 0.07, 0.08);
  }

  boom(near) {
    this.#tone("sawtooth", 120, 30, 0.45, 0.2 * near);
  }

  dash() {
    this.#tone("sine", 240, 620, 0.14, 0.08);
  }

  medkit() {
    this.#tone("sine", 523, 523, 0.1, 0.09);
    this.#tone("sine", 784, 784, 0.16, 0.09, 0.09);
  }

  #tone(type, from, to, seconds, volume, later = 0) {
    if (!this.#on || this.#context === null || volume <= 0.002) return;
    const start = this.#context.currentTime + later;
    const oscillator = new OscillatorNode(this.#context, { type, frequency: from });
    const gain = new GainNode(this.#context, { gain: volume });
    oscillator.frequency.exponentialRampToValueAtTime(Math.max(1, to), start + seconds);
    gain.gain.setValueAtTime(volume, start);
    gain.gain.exponentialRampToValueAtTime(0.0001, start + seconds);
    oscillator.connect(gain).connect(this.#context.destination);
    oscillator.start(start);
    oscillator.stop(start + seconds);
  }
}
