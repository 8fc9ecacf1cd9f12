// A relay of positions, as a game on Socket.IO has it. No bus, no tokens, no validation, no limits.
//
//   node relay.js naive       every position is emitted to its room
//   node relay.js batched     each room: the newest position of each player, one emit at 20 Hz
//
// Prints its port. SIGUSR2 collects garbage (node --expose-gc), so that what is resident is what is needed.
import { createServer } from "node:http";
import { Server } from "socket.io";

const TICK_MS = 50;
const batched = process.argv[2] === "batched";
const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });
// Room -> player -> newest position since the last emit.
const moved = new Map();

io.on("connection", (socket) => {
  let room;
  let player;
  socket.on("join", (room_, player_, joined) => {
    room = room_;
    player = player_;
    socket.join(room);
    joined();
  });
  socket.on("move", (data) => {
    if (!batched) {
      io.to(room).emit("move", player, data);
      return;
    }
    let news = moved.get(room);
    if (news === undefined) moved.set(room, (news = new Map()));
    news.set(player, data);
  });
  socket.on("canary", (answer) => answer());
});

if (batched)
  setInterval(() => {
    for (const [room, news] of moved) io.to(room).emit("tick", Date.now(), [...news]);
    moved.clear();
  }, TICK_MS);

process.on("SIGUSR2", () => globalThis.gc?.());
http.listen(0, "127.0.0.1", 4096, () => console.log(http.address().port));
