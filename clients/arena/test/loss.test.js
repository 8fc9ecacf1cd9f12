// How the page counts the loss of its own positions.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LossMeter } from "../gamebus_arena/static/js/loss.js";

/** Positions every `period` milliseconds, of which those in `lost` do not come back; the share when all are judged. */
function shareOf(count, period, lost) {
  const meter = new LossMeter();
  for (let number = 0; number < count; number += 1) {
    meter.sent(number, number * period);
    if (!lost.includes(number)) meter.seen(number);
  }
  return meter.share(count * period + 2_000);
}

test("nothing is known before the first position is old enough to be judged", () => {
  const meter = new LossMeter();
  meter.sent(1, 0);
  assert.equal(meter.share(500), null);
});

test("positions that come back are not lost, those that do not are", () => {
  assert.equal(shareOf(100, 60, []), 0);
  assert.equal(shareOf(100, 60, [3, 50, 51, 70]), 0.04);
});

test("a position sent shortly before the next may be overtaken in a tick, and is not counted", () => {
  assert.equal(
    shareOf(
      100,
      20,
      Array.from({ length: 50 }, (_, index) => index * 2),
    ),
    0,
  );
});

test("the share is that of the last positions: what was lost long ago is forgotten", () => {
  assert.equal(shareOf(400, 60, [1, 2, 3, 4, 5]), 0);
});
