// A room of players with positions, as a game on Colyseus has it: schema state, patches at 20 Hz. No bus, no tokens, no validation.
//
// Prints its port.
import { Room, Server } from "@colyseus/core";
import { MapSchema, schema } from "@colyseus/schema";
import { WebSocketTransport } from "@colyseus/ws-transport";

const Player = schema({
  seq: "uint32",
  x: "float64",
  y: "float32",
  z: "float32",
  vx: "float32",
  vy: "float32",
  vz: "float32",
});
const State = schema({ players: { map: Player } });

class Arena extends Room {
  patchRate = 50;
  state = new State();
  seatReservationTimeout = 60;

  onCreate() {
    this.onMessage("move", (client, [seq, x, y, z, vx, vy, vz]) => {
      const player = this.state.players.get(client.sessionId);
      Object.assign(player, { seq, x, y, z, vx, vy, vz });
    });
  }

  onJoin(client) {
    this.state.players.set(client.sessionId, new Player());
  }
}

const transport = new WebSocketTransport();
const server = new Server({ transport, greet: false });
server.define("arena", Arena).filterBy(["room"]);
await server.listen(0, "127.0.0.1");
console.log(transport.server.address().port);
