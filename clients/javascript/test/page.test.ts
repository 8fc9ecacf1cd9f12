/** Hooks into the life of a page. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { currentPage, watchPage } from "../src/page.js";
import { entered, scene, sync, welcome } from "./support.js";

class Document extends EventTarget {
  visibilityState = "visible";
}

function page(): { window: EventTarget; document: Document } {
  return { window: new EventTarget(), document: new Document() };
}

describe("watchPage", () => {
  test("wakes when the page is seen again or the network is back, until it is stopped", () => {
    const { window, document } = page();
    let woken = 0;
    const stop = watchPage({ window, document }, () => {
      woken += 1;
    });
    window.dispatchEvent(new Event("online"));
    document.dispatchEvent(new Event("visibilitychange"));
    window.dispatchEvent(new Event("pageshow"));
    assert.equal(woken, 3);
    document.visibilityState = "hidden";
    document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(woken, 3);
    stop();
    window.dispatchEvent(new Event("online"));
    assert.equal(woken, 3);
  });

  test("there is no page in Node", () => {
    assert.equal(currentPage(), null);
  });
});

describe("a page that comes back", () => {
  test("connects at once and does not wait for the back-off", async (context) => {
    const browser = page();
    const stage = await scene(context, { page: browser });
    const wire = await entered(stage);
    const lost = new Promise((resolve) => stage.game.on("reconnecting", resolve));
    wire.cut();
    await lost;
    browser.window.dispatchEvent(new Event("online"));
    stage.clock.advance(0);
    await welcome(stage.gateway);
  });

  test("stays away for as long as the gateway asked", async (context) => {
    const browser = page();
    const stage = await scene(context, { page: browser });
    const wire = await entered(stage);
    const lost = new Promise((resolve) => stage.game.on("reconnecting", resolve));
    wire.send(["bye", 4000, "restart", 3_000]);
    wire.close(4000);
    await lost;
    browser.document.dispatchEvent(new Event("visibilitychange"));
    stage.clock.advance(2_999);
    assert.equal(stage.clock.pending, 1);
    stage.clock.advance(1);
    await welcome(stage.gateway);
  });

  test("asks whether an open connection still carries", async (context) => {
    const browser = page();
    const stage = await scene(context, { page: browser, keepaliveMs: 10_000 });
    const wire = await entered(stage);
    browser.document.dispatchEvent(new Event("visibilitychange"));
    const [operation, mark] = await wire.frames.get();
    assert.equal(operation, "ping");
    wire.send(["pong", mark, 0]);
    await sync(stage, wire);
    stage.clock.advance(9_999);
    assert(stage.game.connected);
  });

  test("no longer watches once the client is closed", async (context) => {
    const browser = page();
    const stage = await scene(context, { page: browser });
    await entered(stage);
    await stage.game.close();
    browser.window.dispatchEvent(new Event("online"));
    assert.equal(stage.clock.pending, 0);
  });
});
