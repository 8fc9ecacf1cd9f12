// Numbers and times as operators read them. Every function takes null for "not known".

const UNKNOWN = "–";

export function count(value) {
  return value == null ? UNKNOWN : Math.round(value).toLocaleString("en");
}

/** With its noun: 1 room, 2 rooms. */
export function several(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

export function rate(value) {
  if (value == null) return UNKNOWN;
  return `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en")}/s`;
}

export function milliseconds(value) {
  if (value == null) return UNKNOWN;
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : Math.round(value)} ms`;
}

/** Two durations with one unit: the smaller one decides. */
export function pair(a, b) {
  if (a == null || b == null) return UNKNOWN;
  return a >= 10_000
    ? `${(a / 1000).toFixed(1)} / ${(b / 1000).toFixed(1)} s`
    : `${milliseconds(a).replace(" ms", "")} / ${b >= 10_000 ? Math.round(b) : milliseconds(b).replace(" ms", "")} ms`;
}

export function percent(value) {
  return value == null ? UNKNOWN : `${(value * 100).toFixed(value > 0 && value < 0.001 ? 4 : 2)} %`;
}

export function bytes(value) {
  if (value == null) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB"];
  let index = 0;
  while (value >= 1000 && index < units.length - 1) {
    value /= 1000;
    index += 1;
  }
  return `${index && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[index]}`;
}

export function duration(seconds) {
  if (seconds == null) return UNKNOWN;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

export function ago(atMs, nowMs) {
  return atMs == null ? UNKNOWN : `${duration(Math.max(0, (nowMs - atMs) / 1000))} ago`;
}

export function clock(atMs) {
  return atMs == null ? UNKNOWN : new Date(atMs).toLocaleTimeString("en-GB");
}
