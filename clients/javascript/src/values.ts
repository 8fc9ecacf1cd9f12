/**
 * Values that both encodings of the wire protocol carry: null, booleans, integers within +-2^53, finite floats, strings of valid
 * Unicode, arrays, plain objects. Pure.
 *
 * JavaScript's encoders would rather change the others in silence: JSON makes null of NaN, msgpack a timestamp of a Date.
 */

import { InvalidMessage } from "./errors.js";

const MAX_DEPTH = 32;

/**
 * Check what is to be sent. A key of an object whose value is undefined counts as absent, as in JSON.
 *
 * @throws InvalidMessage it holds something that cannot be carried; the message names the place.
 */
export function checkValue(value: unknown): void {
  check(value, "message", 0);
}

function check(value: unknown, place: string, depth: number): void {
  switch (typeof value) {
    case "boolean":
      return;
    case "number":
      if (!Number.isFinite(value)) refuse(place, `${value} is not finite`);
      if (Number.isInteger(value) && Math.abs(value) > 2 ** 53) refuse(place, `${value} is beyond 2^53`);
      return;
    case "string":
      if (LONE_SURROGATE.test(value)) refuse(place, "a string with a lone surrogate");
      return;
    case "object":
      if (value !== null) checkObject(value, place, depth);
      return;
    default:
      refuse(place, `${typeof value} has no form on the wire`);
  }
}

// With the `u` flag a surrogate pair is one code point, so this finds lone ones only.
const LONE_SURROGATE = /[\ud800-\udfff]/u;

function checkObject(value: object, place: string, depth: number): void {
  // The message and the data's own place in it come on top of the data's levels.
  if (depth > MAX_DEPTH + 3) refuse(place, `nested deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1)
      check(value[index], `${place}[${index}]`, depth + 1);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // A plain object of another realm (an iframe) has a prototype of its own, which has no prototype.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    refuse(place, `${value.constructor?.name ?? "this object"} is no plain object`);
  }
  for (const [key, inner] of Object.entries(value)) {
    if (LONE_SURROGATE.test(key)) refuse(place, "a key with a lone surrogate");
    if (inner !== undefined) check(inner, `${place}.${key}`, depth + 1);
  }
}

function refuse(place: string, why: string): never {
  throw new InvalidMessage(`data cannot be sent: ${why}, at ${place}`);
}
