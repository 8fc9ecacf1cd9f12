/**
 * The link: one websocket at a time, dialled again for as long as the close codes allow.
 *
 * A thin driver of `ClientProtocol`: it reads, writes, waits and measures time, and decides nothing that the protocol can decide.
 */

import { Backoff, TOKEN_EXPIRED } from "./backoff.js";
import type { Frame } from "./codec.js";
import { ConnectError, HandshakeRefused, ProtocolViolation } from "./errors.js";
import { Keepalive } from "./keepalive.js";
import type { Closed, Reconnecting } from "./messages.js";
import type { Lost, Notice } from "./notices.js";
import type { Placement } from "./placement.js";
import type { ClientProtocol } from "./protocol.js";
import { Timer } from "./timer.js";
import type { Timers } from "./timers.js";
import type { TokenSource } from "./tokens.js";

const OPEN_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 5_000;
const PING_INTERVAL_MS = 10_000;
const PING_ANSWER_MS = 10_000;

// The kernel holds far more than this, so a buffer in the process means that the path is full: what is written now is stale
// when it arrives.
const BACKPRESSURE_BYTES = 16 * 1024;

// Browsers let a script close with 1000 and 3000-4999 only, so 1002 (protocol error) and 1013 (try again later) are moved there.
const PROTOCOL_ERROR = 3002;
const TRY_AGAIN_LATER = 3013;
const NO_ANSWER = 3008;

/** What is used of a websocket: the interface of browsers, which `ws` has too. */
export interface Socket {
  binaryType: string;
  readonly protocol: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  // As a property, so that neither the browser's nor ws's wider parameters get in the way.
  send(data: Uint8Array<ArrayBuffer> | string): void;
  close(code?: number, reason?: string): void;
}

/** Constructor of websockets: `globalThis.WebSocket` in browsers, `WebSocket` of `ws` in Node 20. */
export type SocketConstructor = new (url: string, protocols: string[]) => Socket;

/** The program does not keep up; the connection is closed and resumed when it does. */
export class InboxFull extends Error {}

/** What a link is made of. */
export interface LinkParts {
  readonly placement: Placement;
  readonly subprotocol: string;
  readonly protocol: ClientProtocol;
  readonly tokens: TokenSource;
  readonly timers: Timers;
  readonly random: () => number;
  readonly WebSocket: SocketConstructor;
  /** Milliseconds between pings; 0: none, null: as the gateway says. */
  readonly keepaliveMs: number | null;
  /** Called for each notice of the protocol; throws `InboxFull` to have the connection closed. */
  readonly take: (notice: Notice) => void;
  /** Called before each pause. */
  readonly reconnecting: (message: Reconnecting) => void;
  /** Awaited after the pause: when the program is ready for more. */
  readonly mayConnect: () => Promise<void>;
}

interface End {
  readonly code: number;
  readonly reason: string;
  /** False: the socket closed by itself. */
  readonly givenUp: boolean;
}

const OPEN = 1;

/** Keeps one connection open. */
export class Link {
  framesReceived = 0;
  /** Why the last attempt to connect failed. */
  lastError: ConnectError | null = null;

  readonly #parts: LinkParts;
  readonly #backoff: Backoff;
  readonly #keepalive: Keepalive;
  readonly #keepaliveTimer: Timer;
  readonly #outboxTimer: Timer;
  readonly #welcomeTimer: Timer;
  #socket: Socket | null = null;
  /** Ends the present connection. */
  #end: ((end: End) => void) | null = null;
  /** Ends the present pause between two attempts. */
  #resume: (() => void) | null = null;
  readonly #pauseTimer: Timer;
  #notBefore = 0;
  #marks = 0;
  #stopped = false;
  #whenStopped: () => void = () => {};
  readonly #stop = new Promise<void>((resolve) => {
    this.#whenStopped = resolve;
  });

  constructor(parts: LinkParts) {
    this.#parts = parts;
    this.#backoff = new Backoff(parts.random);
    this.#keepalive = new Keepalive(parts.keepaliveMs ?? PING_INTERVAL_MS, PING_ANSWER_MS);
    this.#keepaliveTimer = new Timer(parts.timers, () => this.#checkPath());
    this.#outboxTimer = new Timer(parts.timers, () => this.#wakeOutbox());
    this.#pauseTimer = new Timer(parts.timers, () => this.#resume?.());
    this.#welcomeTimer = new Timer(parts.timers, () => {
      this.#giveUp(PROTOCOL_ERROR, `no welcome within ${OPEN_TIMEOUT_MS} ms`);
    });
  }

  /**
   * Connect and reconnect until a terminal end, which is returned; or until `stop`.
   *
   * @throws HandshakeRefused connecting is useless.
   */
  async run(): Promise<Closed> {
    const { timers } = this.#parts;
    try {
      while (!this.#stopped) {
        const lost = await this.#attempt();
        if (this.#stopped) break;
        if (lost.terminal) return { kind: "closed", code: lost.code ?? 1006, reason: lost.reason };
        const now = timers.now();
        const delayMs = this.#backoff.nextDelay(now, lost.atLeastMs);
        this.#notBefore = now + lost.atLeastMs;
        this.#parts.reconnecting({
          kind: "reconnecting",
          attempt: this.#backoff.attempt,
          delayMs,
          code: lost.code,
          reason: lost.reason,
        });
        // A listener may have closed the client.
        if (!this.#stopped) await this.#pause(now + delayMs);
        if (!this.#stopped) await Promise.race([this.#parts.mayConnect(), this.#stop]);
      }
      return { kind: "closed", code: 1000, reason: "closed by this client" };
    } finally {
      this.#outboxTimer.cancel();
    }
  }

  /** End: the connection is closed, and `run` returns. */
  stop(): void {
    this.#stopped = true;
    this.#whenStopped();
    this.#resume?.();
    this.#giveUp(1000, "");
  }

  /** The network or the page came back: connect now, as far as the gateway allows it, or ask whether the path still carries. */
  wake(): void {
    const now = this.#parts.timers.now();
    if (this.#resume !== null) this.#pauseTimer.notAfter(Math.max(now, this.#notBefore));
    else if (this.#keepalive.probe(now)) this.#sendPing();
  }

  /** `welcome` has come. */
  opened(pingIntervalMs: number | null): void {
    const { timers, keepaliveMs } = this.#parts;
    const now = timers.now();
    this.#backoff.opened(now);
    this.#welcomeTimer.cancel();
    this.#keepalive.opened(now, keepaliveMs ?? pingIntervalMs ?? PING_INTERVAL_MS);
    this.#armKeepalive();
  }

  /** Whether the socket takes no more: a realtime event written now would be late. */
  get congested(): boolean {
    return this.#socket === null || this.#socket.bufferedAmount > BACKPRESSURE_BYTES;
  }

  /** Write one frame at once; false when there is no open connection. */
  write(frame: Frame): boolean {
    if (this.#socket === null || this.#socket.readyState !== OPEN) return false;
    this.#socket.send(frame);
    return true;
  }

  /** Write what the protocol has to say, and see to it that its next deadline is kept. */
  flush(): void {
    for (const frame of this.#parts.protocol.framesToSend()) this.write(frame);
    const wake = this.#parts.protocol.nextWake();
    if (wake !== null) this.#outboxTimer.notAfter(wake);
  }

  #wakeOutbox(): void {
    for (const error of this.#parts.protocol.wake(this.#parts.timers.now())) {
      this.#parts.take({ kind: "unpublished", error });
    }
    this.flush();
  }

  // Connection

  async #attempt(): Promise<Lost> {
    let token: string | undefined;
    try {
      token = (await Promise.race([this.#parts.tokens.get(), this.#stop])) ?? undefined;
    } catch (error) {
      // A failed fetch() is a TypeError, so what passes cannot be told from what does not.
      this.lastError = new ConnectError(`no token: ${String(error)}`, { cause: error });
    }
    const lost = token === undefined || this.#stopped ? null : await this.#placed(token);
    if (lost === null) {
      return { code: null, reason: this.lastError?.message ?? "", terminal: false, atLeastMs: 0 };
    }
    if (lost.code === TOKEN_EXPIRED && !this.#parts.tokens.renewable) {
      const why = `${lost.reason || "token expired"}; give a function as token to have it renewed`;
      return { ...lost, reason: why, terminal: true };
    }
    return lost;
  }

  /** A connection to the gateway that takes the room; null when it never opened. */
  async #placed(token: string): Promise<Lost | null> {
    const { placement } = this.#parts;
    const url = await Promise.race([placement.url(), this.#stop]);
    if (url === undefined) return null;
    const lost = await this.#connection(url, token);
    if (lost === null) placement.failed(url);
    return lost;
  }

  /** One connection from its handshake to its end; null when it never opened. */
  async #connection(url: string, token: string): Promise<Lost | null> {
    const { subprotocol, timers, protocol } = this.#parts;
    const socket = new this.#parts.WebSocket(url, [subprotocol]);
    socket.binaryType = "arraybuffer";
    let open = false;
    let failure = "refused";
    const ended = new Promise<End>((resolve) => {
      this.#end = resolve;
    });
    socket.onopen = () => {
      open = true;
      cancel();
      this.#socket = socket;
      if (socket.protocol === subprotocol) this.#greet(token);
      else this.#giveUp(PROTOCOL_ERROR, "another subprotocol");
    };
    socket.onmessage = (event: { data: unknown }) => this.#read(event.data);
    // Browsers say nothing about it; `ws` has the reason.
    socket.onerror = (event: { message?: string }) => {
      failure = event.message || failure;
    };
    socket.onclose = (event: { code: number; reason: string }) => {
      this.#end?.({ code: event.code || 1006, reason: event.reason, givenUp: false });
    };
    const cancel = timers.at(timers.now() + OPEN_TIMEOUT_MS, () => {
      this.#giveUp(PROTOCOL_ERROR, `no answer within ${OPEN_TIMEOUT_MS} ms`);
    });
    const end = await ended;
    cancel();
    this.#forget();
    const lost = open ? protocol.disconnect(end.code, end.reason) : null;
    if (end.givenUp) await this.#close(socket, end);
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (open && socket.protocol !== subprotocol)
      throw new HandshakeRefused(`${url} does not speak ${subprotocol}`);
    if (!open) this.lastError = new ConnectError(`cannot connect to ${url}: ${end.reason || failure}`);
    return lost;
  }

  #greet(token: string): void {
    this.#welcomeTimer.notAfter(this.#parts.timers.now() + OPEN_TIMEOUT_MS);
    this.#parts.protocol.connect(token, this.#parts.timers.now());
    this.flush();
  }

  #read(data: unknown): void {
    // What comes after the end was decided belongs to nobody.
    if (this.#end === null) return;
    const now = this.#parts.timers.now();
    this.framesReceived += 1;
    this.#keepalive.received(now);
    try {
      const notice = this.#parts.protocol.receive(data, now);
      if (notice !== null) this.#parts.take(notice);
      this.flush();
    } catch (error) {
      if (error instanceof ProtocolViolation) this.#giveUp(PROTOCOL_ERROR, error.message);
      else if (error instanceof InboxFull) this.#giveUp(TRY_AGAIN_LATER, error.message);
      else throw error;
    }
  }

  #giveUp(code: number, reason: string): void {
    this.#end?.({ code, reason, givenUp: true });
    this.#forget();
  }

  #forget(): void {
    this.#end = null;
    this.#socket = null;
    this.#welcomeTimer.cancel();
    this.#keepaliveTimer.cancel();
    this.#keepalive.closed();
  }

  /** Close as far as the peer lets us; frames that were written before go out first. */
  async #close(socket: Socket, { code, reason }: End): Promise<void> {
    // The close frame holds up to 123 bytes of UTF-8.
    socket.close(code, reason.slice(0, 40));
    // A path that carries nothing answers no close either.
    if (code === NO_ANSWER) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#parts.timers.at(this.#parts.timers.now() + CLOSE_TIMEOUT_MS, resolve);
      socket.onclose = () => {
        cancel();
        resolve();
      };
    });
  }

  // Liveness

  #checkPath(): void {
    const due = this.#keepalive.wake(this.#parts.timers.now());
    if (due === "dead") this.#giveUp(NO_ANSWER, `no answer to a ping within ${PING_ANSWER_MS} ms`);
    else if (due === "ping") this.#sendPing();
    else this.#armKeepalive();
  }

  #sendPing(): void {
    this.#marks += 1;
    this.#parts.protocol.ping(`alive-${this.#marks}`, this.#parts.timers.now());
    this.flush();
    this.#armKeepalive();
  }

  #armKeepalive(): void {
    const at = this.#keepalive.nextWake();
    this.#keepaliveTimer.cancel();
    if (at !== null) this.#keepaliveTimer.notAfter(at);
  }

  async #pause(until: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
      this.#pauseTimer.notAfter(until);
    });
    this.#resume = null;
    this.#pauseTimer.cancel();
  }
}
