/**
 * What the game server told: who is in the arena, health, scores, medkits, the round. Pure.
 *
 * `apply` takes each event once and answers what there is to show of it. Scores are the totals that the events of type `arena`
 * bring; `kill` feeds the list of kills alone, since no order is promised between the two.
 */

const NOBODY = { health: 0, kills: 0, deaths: 0, bot: false, protectedUntil: 0, spawnedAt: 0 };

export class World {
  ground = { half: [30, 20], walls: [] };
  medkits = [];
  round = 0;
  roundKills = 15;
  /** Whether the game server has told anything: without it nobody can play. */
  known = false;
  players = new Map();

  player(name) {
    let player = this.players.get(name);
    if (player === undefined) {
      player = { ...NOBODY, name, bot: name.endsWith(".bot") };
      this.players.set(name, player);
    }
    return player;
  }

  alive(name) {
    return (this.players.get(name)?.health ?? 0) > 0;
  }

  left(name) {
    this.players.delete(name);
  }

  /** Best first. */
  ranking() {
    return [...this.players.values()].sort(
      (one, other) =>
        other.kills - one.kills || one.deaths - other.deaths || (one.name < other.name ? -1 : 1),
    );
  }

  apply(data, serverMs) {
    switch (data?.kind) {
      case "state":
        return this.#state(data);
      case "hit":
        return this.#hit(data);
      case "spawn":
        return this.#spawn(data, serverMs);
      case "medkit":
        return this.#medkit(data);
      case "round":
        return this.#round(data);
      default:
        // A newer game server.
        return null;
    }
  }

  #state(data) {
    this.known = true;
    this.ground = data.ground;
    this.round = data.round;
    this.roundKills = data.round_kills;
    this.medkits = data.medkits.map(([x, z, backMs]) => ({ x, z, backMs }));
    for (const name of [...this.players.keys()]) {
      if (!(name in data.players)) this.players.delete(name);
    }
    for (const [name, { health, kills, deaths, bot, x, z }] of Object.entries(data.players)) {
      Object.assign(this.player(name), { health, kills, deaths, bot });
      if (x !== undefined) this.player(name).told = { x, z };
    }
    return data;
  }

  #hit(data) {
    const victim = this.player(data.victim);
    victim.health = data.health;
    if (data.kills === undefined) return data;
    victim.deaths = data.deaths;
    const killer = this.players.get(data.by);
    if (killer !== undefined) {
      killer.kills = data.kills;
      if (data.healed_to !== null) killer.health = data.healed_to;
    }
    return data;
  }

  #spawn(data, serverMs) {
    const player = this.player(data.player);
    Object.assign(player, {
      health: data.health,
      protectedUntil: data.protected_until_ms,
      spawnedAt: serverMs,
      told: { x: data.x, z: data.z },
    });
    return data;
  }

  #medkit(data) {
    this.player(data.player).health = data.health;
    const medkit = this.medkits[data.index];
    if (medkit !== undefined) medkit.backMs = data.back_ms;
    return data;
  }

  #round(data) {
    this.round = data.next_round;
    for (const player of this.players.values()) player.kills = player.deaths = 0;
    return data;
  }
}

/** What people call a player. */
export function shown(name) {
  return name.replace(/\.bot$/, "");
}
