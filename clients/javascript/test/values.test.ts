/** What a client refuses to send, and what it makes of strange data that comes. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encode } from "@msgpack/msgpack";
import { decodeMessage, ENCODINGS, encodeMessage } from "../src/codec.js";
import { InvalidMessage, ProtocolViolation } from "../src/errors.js";

const encodings = Object.values(ENCODINGS);

function event(data: unknown): unknown[] {
  return ["event", "gift", "arena", "bob", 1, data, "g-1", "c1"];
}

describe("values", () => {
  test("that both encodings carry come back as they were", () => {
    const values = [null, true, 0, -1, 2 ** 53, 0.1, "Grüße 👋", [[]], { a: { b: [] } }, Object.create(null)];
    for (const encoding of encodings) {
      for (const value of values) {
        const decoded = decodeMessage(encoding, encoding.pack(event(value)));
        assert(decoded?.kind === "event");
        assert.equal(JSON.stringify(decoded.data), JSON.stringify(value));
        encodeMessage(encoding, ["pub", "gift", "arena", value, "g-1"]);
      }
    }
  });

  test("that one of them would change in silence are refused", () => {
    const holdsItself: unknown[] = [];
    holdsItself.push(holdsItself);
    const values = [
      undefined,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 53 + 2,
      1n,
      "\ud800",
      { "\udc00": 1 },
      new Date(0),
      new Map(),
      new Uint8Array(1),
      () => 1,
      Symbol("x"),
      [undefined],
      holdsItself,
    ];
    for (const encoding of encodings) {
      for (const value of values) {
        assert.throws(() => encodeMessage(encoding, ["pub", "gift", "arena", value, "g-1"]), InvalidMessage);
      }
    }
  });

  test("a key without a value is absent, in both encodings", () => {
    for (const encoding of encodings) {
      const decoded = decodeMessage(encoding, encodeMessage(encoding, event({ a: undefined, b: 1 })));
      assert(decoded?.kind === "event");
      assert.deepEqual(decoded.data, { b: 1 });
    }
  });

  test("a key __proto__ in another player's data neither ends the connection nor changes a prototype", () => {
    const text = `["event","gift","arena","bob",1,{"__proto__":{"admin":true}},"g-1","c1"]`;
    for (const [encoding, frame] of [
      [ENCODINGS.json, text],
      [ENCODINGS.msgpack, encode(JSON.parse(text))],
    ] as const) {
      const decoded = decodeMessage(encoding, frame);
      assert(decoded?.kind === "event");
      assert.equal((decoded.data as { admin?: boolean }).admin, undefined);
      assert.deepEqual(Object.keys(decoded.data as object), ["__proto"]);
    }
  });

  test("what is no message is a violation of the protocol", () => {
    const frames = [
      "",
      "{",
      "[]",
      "{}",
      "1",
      '[["tick"]]',
      '["ack","m"]',
      '["welcome","s","p",null]',
      '["tick","r",1,[1]]',
    ];
    for (const frame of frames) {
      assert.throws(() => decodeMessage(ENCODINGS.json, frame), ProtocolViolation);
    }
    for (const bytes of [[], [0xc1], [0x90], [0x93, 0xa3]]) {
      assert.throws(() => decodeMessage(ENCODINGS.msgpack, new Uint8Array(bytes)), ProtocolViolation);
    }
  });
});
