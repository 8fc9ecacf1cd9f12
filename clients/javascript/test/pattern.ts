/** Patterns of `tests/conformance`: what `$` names stand for, and when something found is what a script expects. */

/** Data that a file cannot hold. */
const SPECIAL: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ["$nan", Number.NaN],
  ["$bytes", new Uint8Array([98])],
  ["$lone_surrogate", "\ud800"],
  ["$too_large_integer", 2 ** 53 + 2],
]);

export class Names {
  readonly #bound = new Map<string, unknown>();

  /** @param values what is known from the start. */
  constructor(values: Record<string, unknown>) {
    for (const [name, value] of Object.entries(values)) this.#bound.set(name, value);
  }

  /** A value with what its `$` names stand for. */
  fill(value: unknown): unknown {
    if (typeof value === "string" && value.startsWith("$")) {
      return SPECIAL.has(value) ? SPECIAL.get(value) : this.#bound.get(value.replace(/^\$=?/, ""));
    }
    if (Array.isArray(value)) return value.map((item) => this.fill(item));
    if (!isMap(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.fill(item)]));
  }

  /** @param part of a map, only the keys of the pattern count. */
  matches(found: unknown, pattern: unknown, part = false): boolean {
    if (pattern === "$any") return true;
    if (typeof pattern === "string" && pattern.startsWith("$=")) {
      const name = pattern.slice(2);
      if (!this.#bound.has(name)) this.#bound.set(name, found);
      return this.#bound.get(name) === found;
    }
    if (Array.isArray(pattern)) {
      return (
        Array.isArray(found) &&
        found.length === pattern.length &&
        pattern.every((item, index) => this.matches(found[index], item))
      );
    }
    if (isMap(pattern)) {
      if (!isMap(found)) return false;
      const keys = Object.keys(pattern);
      if (!part && keys.length !== Object.keys(found).length) return false;
      return keys.every((key) => Object.hasOwn(found, key) && this.matches(found[key], pattern[key]));
    }
    if (typeof pattern === "number") return typeof found === "number" && Math.abs(found - pattern) < 0.01;
    return found === pattern;
  }
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  );
}

/** A message or a result as a script writes it: names in snake case, maps as objects. */
export function plain(value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries(value);
  if (!isMap(value)) return value;
  // What other programs chose, data, keeps its names.
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [snake(key), item instanceof Map ? plain(item) : item]),
  );
}

export function snake(name: string): string {
  return name.replace(/(?<!^)([A-Z])/g, "_$1").toLowerCase();
}
