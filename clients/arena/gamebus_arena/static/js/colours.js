/**
 * One colour for each player while there are enough of them. People and opponents also differ in shape and every body carries its
 * name, so that nobody needs the colours.
 */

export const OWN = "#4de1ff";
export const HEAL = "#5dffa8";
export const DANGER = "#ff4d6d";

const OTHERS = [
  "#ff7a59",
  "#ffc24d",
  "#c08bff",
  "#ff6fb5",
  "#a6e34d",
  "#6f9bff",
  "#ff5d73",
  "#f2f27a",
  "#e08bff",
  "#ffa0a0",
];
const given = new Map();

export function colourOf(name, self) {
  if (name === self) return OWN;
  if (!given.has(name)) given.set(name, freeColour(name));
  return given.get(name);
}

/** The player left: its colour may be another's. */
export function freeColourOf(name) {
  given.delete(name);
}

/** The name's own colour, or the next one that nobody has. */
function freeColour(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  const taken = new Set(given.values());
  for (let step = 0; step < OTHERS.length; step += 1) {
    const colour = OTHERS[(hash + step) % OTHERS.length];
    if (!taken.has(colour)) return colour;
  }
  return OTHERS[hash % OTHERS.length];
}

/** `#rrggbb` with an opacity. */
export function faded(colour, opacity) {
  return `${colour}${Math.round(Math.max(0, Math.min(1, opacity)) * 255)
    .toString(16)
    .padStart(2, "0")}`;
}
