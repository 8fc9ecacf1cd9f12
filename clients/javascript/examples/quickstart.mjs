// Join a room, move, say hello, and print what happens: node quickstart.mjs ws://127.0.0.1:8000 TOKEN
import { GameClient } from "gamebus-client";
import { WebSocket } from "ws";

const game = new GameClient(process.argv[2], process.argv[3], { WebSocket });
const messages = game.messages();
await game.open();
await game.join("arena-1");
game.move("arena-1", 1, 0, 2); // at most once: returns at once, true when it was written
await game.chat("arena-1", "hello"); // at least once: resolves when it is safe on all replicas
for await (const message of messages) console.log(message);
