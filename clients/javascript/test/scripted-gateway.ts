/** A real websocket server on loopback whose side of the conversation is played by a test. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { decode, encode } from "@msgpack/msgpack";
import { type WebSocket, WebSocketServer } from "ws";
import { Queue } from "./queue.js";

export type Message = unknown[];

/** The gateway's end of one connection. */
export class Wire {
  readonly frames = new Queue<Message>();
  readonly ended: Promise<number>;
  readonly #socket: WebSocket;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data: Buffer, binary: boolean) => {
      this.frames.put((binary ? unpack(data) : JSON.parse(data.toString())) as Message);
    });
    this.ended = new Promise((resolve) => {
      socket.on("close", (code) => {
        this.frames.end(new Error(`the connection ended with ${code}`));
        resolve(code);
      });
    });
  }

  /** @param otherKind in the encoding that was not chosen. */
  send(message: Message, otherKind = false): void {
    const text = (this.#socket.protocol === "gamebus.v1.json") !== otherKind;
    this.#socket.send(text ? JSON.stringify(message) : encode(message));
  }

  close(code: number): void {
    this.#socket.close(code, "because");
  }

  /** Break the connection without a close frame (seen as 1006). */
  cut(): void {
    this.#socket.terminate();
  }

  /** Read no more, so that what the client writes piles up. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}

// msgpack for JavaScript refuses the key `__proto__`, which is a name for rooms like any other.
function unpack(data: Uint8Array): unknown {
  const keyDecoder = {
    canBeCached: (byteLength: number) => byteLength === 9,
    decode: (bytes: Uint8Array, offset: number, byteLength: number) =>
      `${Buffer.from(bytes.subarray(offset, offset + byteLength)).toString()}${RENAMED}`,
  };
  return restored(decode(data, { keyDecoder }));
}
const RENAMED = "\u0000";

function restored(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(restored);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key.replace(RENAMED, ""), restored(item)]),
  );
}

/** Accepts connections; a test takes them in turn. */
export class ScriptedGateway {
  readonly connections = new Queue<Wire>();
  readonly #refusals: number[] = [];
  /** Paths of the requests for a place. */
  readonly asked: string[] = [];
  /** What the next of them are answered; 503 after that. */
  readonly places: string[] = [];
  readonly #http: Server = createServer();
  readonly #sockets: WebSocketServer;

  private constructor(subprotocol: string) {
    this.#sockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      handleProtocols: (offered) => {
        assert.deepEqual([...offered], [subprotocol]);
        return subprotocol;
      },
    });
    this.#http.on("request", (request, response) => {
      this.asked.push(request.url ?? "");
      const body = this.places.shift();
      response.writeHead(body === undefined ? 503 : 200, { connection: "close" }).end(body);
    });
    this.#http.on("upgrade", (request, socket: Duplex, head) => {
      const status = this.#refusals.shift();
      if (status !== undefined) {
        socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
        return;
      }
      this.#sockets.handleUpgrade(request, socket, head, (opened) => this.connections.put(new Wire(opened)));
    });
  }

  static async start(encoding: string): Promise<ScriptedGateway> {
    const gateway = new ScriptedGateway(`gamebus.v1.${encoding}`);
    gateway.#http.listen(0, "127.0.0.1");
    await once(gateway.#http, "listening");
    return gateway;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  /** The next handshake is answered with this HTTP status. */
  refuse(status: number): void {
    this.#refusals.push(status);
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#http.close();
    await once(this.#http, "close");
  }
}
