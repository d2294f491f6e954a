// Values in cells: a scalar as it is; a list of one text for what is more than that, [text, true] where it is cut off,
// [size, true, version] where it is not here.

import { visible } from "./dom.js";

export function cellText(value) {
  if (value === undefined || value === null) return value === null ? "null" : "";
  return visible(Array.isArray(value) ? value[0] : typeof value === "number" ? number(value) : String(value));
}

export function cellKind(value) {
  if (value === null || value === undefined) return "none";
  return Array.isArray(value) ? "json" : typeof value;
}

/** The text to edit a cell by: all of it, exactly. */
export function cellSource(value) {
  return value === undefined ? "" : Array.isArray(value) ? value[0] : String(value);
}

/** The version by which a value that is not here can be asked for. */
export const versionOf = (value) => (Array.isArray(value) ? value[2] : undefined) || undefined;

export const isCut = (value) => Array.isArray(value) && value.length > 1;

export function number(value) {
  if (Number.isSafeInteger(value)) return Math.abs(value) >= 10000 ? value.toLocaleString("en-US") : String(value);
  const size = Math.abs(value);
  if (size >= 1e15 || size < 1e-4) return value.toExponential(3);
  if (size >= 1e3) return value.toLocaleString("en-US", { maximumFractionDigits: 2, useGrouping: size >= 1e4 });
  return String(Number(value.toPrecision(6)));
}
