/** One colour for each player, the same on every page. People and opponents also differ in shape, so that no one needs the colours. */

export const OWN = "#4de1ff";
export const HEAL = "#5dffa8";
export const DANGER = "#ff4d6d";

const OTHERS = ["#ff7a59", "#ffc24d", "#c08bff", "#ff6fb5", "#a6e34d", "#6f9bff", "#ff5d73", "#4dffd2", "#f2f27a", "#e08bff"];

export function colourOf(name, self) {
  if (name === self) return OWN;
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  return OTHERS[hash % OTHERS.length];
}

/** `#rrggbb` with an opacity. */
export function faded(colour, opacity) {
  return `${colour}${Math.round(Math.max(0, Math.min(1, opacity)) * 255)
    .toString(16)
    .padStart(2, "0")}`;
}
