/**
 * A player in a process of its own, for `tests/integration/test_javascript_client.py`: the built client on a real gateway.
 *
 *     node test/player.mjs URL TOKEN ROOM CHATS
 *
 * It moves, and says so many sentences, a few at a time, through whatever happens to its gateway; each thing that happens is one
 * JSON line. It ends when it has heard all of its own sentences.
 */

import { WebSocket } from "ws";
import { GameClient } from "../dist/gamebus.js";

const AT_A_TIME = 5;
const [url, token, room, chats] = process.argv.slice(2);
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const game = new GameClient(url, token, { WebSocket, connectTimeoutMs: 30_000 });
const heard = new Promise((resolve) => {
  game.on("event", ({ data }) => {
    say({ kind: "event", text: data.text });
    if (data.text === chats) resolve();
  });
});
const moved = new Promise((resolve) => {
  game.on("tick", ({ positions }) => {
    if (positions.get(game.player)) resolve();
  });
});
for (const name of ["joined", "reconnecting", "reconnected"]) game.on(name, say);

await game.open();
await game.join(room);
const walking = setInterval(() => game.move(room, Date.now() % 100, 0, 0), 50);
await moved;
say({ kind: "moved" });
for (let next = 1; next <= Number(chats); next += AT_A_TIME) {
  const texts = Array.from({ length: AT_A_TIME }, (_, offset) => String(next + offset));
  const acks = await Promise.all(texts.map((text) => game.chat(room, text, { id: `chat-${text}` })));
  for (const { id, attempts } of acks) say({ kind: "acked", id, attempts });
}
await heard;
clearInterval(walking);
say({ kind: "done", statistics: game.statistics() });
await game.close();
