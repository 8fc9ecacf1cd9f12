/** Floor and walls: what does not move. Metres. */

const TILE = 2;
const HEIGHT = 0.09;
/** What the edge of the floor needs around it, in metres. */
const MARGIN = 0.5;

const MOST_PIXELS_PER_METRE = 48;

/** The floor, drawn once for each size of the screen: it is most of the picture and never changes. */
export class Floor {
  #picture = document.createElement("canvas");
  #key = "";

  draw(context, ground, pixelsPerMetre) {
    const { half } = ground;
    const fine = Math.min(MOST_PIXELS_PER_METRE, pixelsPerMetre);
    const [width, depth] = [2 * half[0] + 2 * MARGIN, 2 * half[1] + 2 * MARGIN];
    if (this.#key !== `${half} ${fine}`) {
      this.#key = `${half} ${fine}`;
      this.#picture.width = Math.ceil(width * fine);
      this.#picture.height = Math.ceil(depth * fine);
      const pen = this.#picture.getContext("2d");
      pen.setTransform(fine, 0, 0, fine, (width / 2) * fine, (depth / 2) * fine);
      drawFloor(pen, ground);
    }
    context.drawImage(this.#picture, -width / 2, -depth / 2, width, depth);
  }
}

function drawFloor(context, { half: [halfX, halfZ] }) {
  const light = context.createRadialGradient(0, 0, 2, 0, 0, halfX * 1.1);
  light.addColorStop(0, "#1b2c56");
  light.addColorStop(0.55, "#131f40");
  light.addColorStop(1, "#0e1730");
  context.fillStyle = light;
  context.fillRect(-halfX, -halfZ, 2 * halfX, 2 * halfZ);
  // Some tiles are lighter, always the same ones: a floor without marks hides that one moves.
  context.fillStyle = "rgb(130 170 255 / 5%)";
  for (let x = -halfX; x < halfX; x += TILE) {
    for (let z = -halfZ; z < halfZ; z += TILE) {
      if (Math.abs(Math.sin(x * 12.9898 + z * 78.233) * 43758.5453) % 1 < 0.16)
        context.fillRect(x, z, TILE, TILE);
    }
  }
  context.lineWidth = 0.03;
  context.strokeStyle = "rgb(120 165 255 / 13%)";
  context.beginPath();
  for (let x = -halfX + TILE; x < halfX; x += TILE) line(context, x, -halfZ, x, halfZ);
  for (let z = -halfZ + TILE; z < halfZ; z += TILE) line(context, -halfX, z, halfX, z);
  context.stroke();
  context.strokeStyle = "rgb(77 225 255 / 16%)";
  context.lineWidth = 0.1;
  for (const radius of [5.5, 6]) {
    context.beginPath();
    context.arc(0, 0, radius, 0, 2 * Math.PI);
    context.stroke();
  }
  for (const [width, ink] of [
    [0.9, "rgb(255 77 141 / 10%)"],
    [0.45, "rgb(255 77 141 / 22%)"],
    [0.14, "#ff4d8d"],
  ]) {
    context.lineWidth = width;
    context.strokeStyle = ink;
    context.strokeRect(-halfX, -halfZ, 2 * halfX, 2 * halfZ);
  }
}

/** Walls as blocks: their tops are nearer to the eye, so they lean away from the camera. */
export function drawWalls(context, { walls }, camera) {
  for (const [x, z, width, depth] of walls) {
    context.fillStyle = "rgb(0 0 0 / 40%)";
    context.fillRect(x + 0.25, z + 0.35, width, depth);
  }
  for (const wall of walls) {
    const [x, z, width, depth] = wall;
    const base = corners(x, z, width, depth);
    const top = base.map(([px, pz]) => [px + (px - camera.x) * HEIGHT, pz + (pz - camera.z) * HEIGHT]);
    context.fillStyle = "#111b38";
    context.strokeStyle = "rgb(90 130 220 / 28%)";
    context.lineWidth = 0.05;
    for (let side = 0; side < 4; side += 1) {
      const next = (side + 1) % 4;
      polygon(context, [base[side], base[next], top[next], top[side]]);
      context.fill();
      context.stroke();
    }
    const [first, , third] = top;
    const shade = context.createLinearGradient(first[0], first[1], third[0], third[1]);
    shade.addColorStop(0, "#3a5190");
    shade.addColorStop(1, "#24365f");
    context.fillStyle = shade;
    polygon(context, top);
    context.fill();
    for (const [thickness, ink] of [
      [0.3, "rgb(77 225 255 / 14%)"],
      [0.08, "rgb(120 220 255 / 85%)"],
    ]) {
      context.lineWidth = thickness;
      context.strokeStyle = ink;
      context.stroke();
    }
  }
}

function corners(x, z, width, depth) {
  return [
    [x, z],
    [x + width, z],
    [x + width, z + depth],
    [x, z + depth],
  ];
}

function polygon(context, points) {
  context.beginPath();
  for (const [x, z] of points) context.lineTo(x, z);
  context.closePath();
}

function line(context, fromX, fromZ, toX, toZ) {
  context.moveTo(fromX, fromZ);
  context.lineTo(toX, toZ);
}
