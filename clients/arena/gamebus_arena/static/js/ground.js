/** Walls, as in `arena_map.py`: a player's own movement is predicted here. Pure; metres. */

export const BODY = 0.8;
export const WALK = 8.5;
export const SHOT_SPEED = 32;
export const SHOT_RANGE = 26;

/** The place nearest to (x, z) where a body neither stands in a wall nor leaves the ground. */
export function settle(ground, x, z, radius = BODY) {
  // Twice, because out of one wall may be into the next.
  for (const [left, top, width, depth] of [...ground.walls, ...ground.walls]) {
    [x, z] = pushedOut(left, top, left + width, top + depth, x, z, radius);
  }
  const limitX = ground.half[0] - radius;
  const limitZ = ground.half[1] - radius;
  return [Math.max(-limitX, Math.min(limitX, x)), Math.max(-limitZ, Math.min(limitZ, z))];
}

function pushedOut(left, top, right, bottom, x, z, radius) {
  const nearX = Math.max(left, Math.min(right, x));
  const nearZ = Math.max(top, Math.min(bottom, z));
  const awayX = x - nearX;
  const awayZ = z - nearZ;
  const distance = Math.hypot(awayX, awayZ);
  if (distance >= radius) return [x, z];
  if (distance > 0) return [nearX + (awayX / distance) * radius, nearZ + (awayZ / distance) * radius];
  const exits = [
    [x - left, left - radius, z],
    [right - x, right + radius, z],
    [z - top, x, top - radius],
    [bottom - z, x, bottom + radius],
  ];
  exits.sort((one, other) => one[0] - other[0]);
  return [exits[0][1], exits[0][2]];
}

/** How far a shot flies from (x, z) before it meets a wall or the end of the ground. */
export function reach(ground, x, z, heading, range = SHOT_RANGE) {
  const toX = x + Math.cos(heading) * range;
  const toZ = z + Math.sin(heading) * range;
  let part = 1;
  for (const [left, top, width, depth] of ground.walls) {
    part = Math.min(part, entry(left, top, left + width, top + depth, x, z, toX, toZ));
  }
  for (const [from, to, half] of [
    [x, toX, ground.half[0]],
    [z, toZ, ground.half[1]],
  ]) {
    if (Math.abs(to) > half) part = Math.min(part, (Math.sign(to) * half - from) / (to - from));
  }
  return range * Math.max(0, part);
}

function entry(left, top, right, bottom, x, z, toX, toZ) {
  let enter = 0;
  let leave = 1;
  for (const [from, to, low, high] of [
    [x, toX, left, right],
    [z, toZ, top, bottom],
  ]) {
    const way = to - from;
    if (way === 0) {
      if (from <= low || from >= high) return 1;
      continue;
    }
    const first = (low - from) / way;
    const second = (high - from) / way;
    enter = Math.max(enter, Math.min(first, second));
    leave = Math.min(leave, Math.max(first, second));
  }
  return enter < leave ? enter : 1;
}
