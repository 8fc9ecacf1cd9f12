/** What is published: the built files, as programs load them. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { createContext, runInContext } from "node:vm";
import { WebSocket } from "ws";

const PUBLIC = [
  "ConnectError",
  "ConnectionLost",
  "Disconnected",
  "GameClient",
  "GameClientError",
  "HandshakeRefused",
  "Interpolator",
  "InvalidMessage",
  "OutboxFull",
  "OutcomeUnknown",
  "ProtocolViolation",
  "PublishError",
  "PublishFailed",
  "PublishRejected",
  "RequestRefused",
  "RequestTimedOut",
];

describe("the build", () => {
  test("as an ES module has exactly the public names", async () => {
    const path = "../gamebus.js";
    assert.deepEqual(Object.keys(await import(path)), PUBLIC);
  });

  test("needs no other file: no module to resolve, no source map that is not there", () => {
    for (const path of ["dist/gamebus.js", "dist/gamebus.iife.js"]) {
      const text = readFileSync(path, "utf8");
      assert.doesNotMatch(text, /^import |\bimport\(|\brequire\(/m);
      for (const [, map] of text.matchAll(/sourceMappingURL=(\S+)/g)) {
        assert(readFileSync(`dist/${map}`).length > 0);
        assert.notEqual(path, "dist/gamebus.iife.js");
      }
    }
  });

  test("as a script of a page needs nothing else and defines `gamebus`", () => {
    const page = createContext({
      TextDecoder,
      TextEncoder,
      URL,
      performance,
      setTimeout,
      clearTimeout,
      crypto,
      WebSocket,
    });
    runInContext(
      readFileSync("dist/gamebus.iife.js", "utf8").replace("var gamebus", "globalThis.gamebus"),
      page,
    );
    assert.deepEqual(Object.keys(page.gamebus).sort(), PUBLIC);
    assert(
      runInContext("new gamebus.GameClient('ws://127.0.0.1:1', 'token') instanceof gamebus.GameClient", page),
    );
  });

  test("the package names the files that are built", () => {
    const { main, types, unpkg, exports } = JSON.parse(readFileSync("package.json", "utf8"));
    for (const path of [main, unpkg, exports["."].default, exports["./iife"]])
      assert(readFileSync(path).length > 0);
    assert.equal(types, exports["."].types);
  });
});
