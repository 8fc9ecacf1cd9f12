/** The client does what every client of the bus does: the conversations of `tests/conformance`, in both encodings. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Conversation, type Parts, type Script } from "./conversation.js";

// Tests run from clients/javascript, by npm.
const folder = "../../tests/conformance";
const read = (...path: string[]): unknown => JSON.parse(readFileSync(join(folder, ...path), "utf8"));
const parts = read("parts", "parts.json") as Parts;
const files = readdirSync(folder).filter((name) => name.endsWith(".json"));

describe("conformance", { timeout: 120_000 }, () => {
  test("there are conversations: an empty folder proves nothing", () => {
    assert(files.length >= 30);
  });

  for (const file of files) {
    const script = read(file) as Script;
    for (const encoding of ["msgpack", "json"] as const) {
      test(`${file} (${encoding}): ${script.about}`, async (context) => {
        const conversation = await Conversation.start(script, parts, encoding);
        const hangs = setTimeout(() => {
          context.diagnostic(`hangs at ${conversation.place}`);
          void conversation.stop();
        }, 20_000);
        try {
          await conversation.play();
        } finally {
          clearTimeout(hangs);
        }
      });
    }
  }
});
