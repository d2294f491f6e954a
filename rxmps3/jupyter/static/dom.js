// Elements without HTML: what comes from a database becomes text, never markup.

const HIDDEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** A text with its control characters, as those of terminals and of writing direction, as escapes one can see. */
export function visible(text) {
  return String(text).replace(HIDDEN, (one) => {
    const code = one.charCodeAt(0);
    return code < 256 ? "\\x" + code.toString(16).padStart(2, "0") : "\\u" + code.toString(16).padStart(4, "0");
  });
}

/** An element: h("button", { class: "x", onclick }, "text", child…). Strings become text nodes. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "onclick") element.addEventListener("click", (event) => element.ariaDisabled !== "true" && value(event));
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Show a text where it is another one: the same again would be read out again. */
export function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether a button does something. One that does not keeps the focus, which `disabled` would take from it. */
export function enable(button, enabled) {
  if (enabled) button.removeAttribute("aria-disabled");
  else button.setAttribute("aria-disabled", "true");
}

/** What has the focus, beside a node: a view may be in a shadow root, of which the document sees only the host. */
export function focusedBeside(node) {
  return node.getRootNode().activeElement ?? null;
}

/**
 * Make a view in a shadow root light or dark as the page behind it is: the sheet's rules about the page do not reach it
 * there. The page's colour is that of the first element around it that has one.
 */
export function matchPage(root) {
  let node = root.getRootNode();
  if (!(node instanceof ShadowRoot)) return;
  for (node = root.parentNode; node; node = node.parentNode ?? node.host) {
    if (!(node instanceof Element)) continue;
    const [red, green, blue, alpha] = channels(getComputedStyle(node).backgroundColor);
    if (alpha < 128) continue;
    root.style.colorScheme = 0.299 * red + 0.587 * green + 0.114 * blue < 128 ? "dark" : "light";
    return;
  }
  root.style.colorScheme = /dark/.test(getComputedStyle(document.documentElement).colorScheme) ? "" : "light";
}

const known = new Map(); // colour → its channels
let pixel = null;

/** Red, green, blue and alpha, each 0 to 255, of a colour however it is written: rgb(), oklch(), color(). */
function channels(color) {
  if (!known.has(color)) {
    pixel ??= Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = color;
    pixel.fillRect(0, 0, 1, 1);
    known.set(color, pixel.getImageData(0, 0, 1, 1).data);
    if (known.size > 100) known.delete(known.keys().next().value);
  }
  return known.get(color);
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for SVG. */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const ICONS = {
  search: "M7 12.5a5.5 5.5 0 1 1 3.9-1.6L14 14",
  play: "M5 3.5v9l7.5-4.5z",
  pause: "M5 3.5v9M11 3.5v9",
  back: "M10.5 3.5 6 8l4.5 4.5",
  forward: "M5.5 3.5 10 8l-4.5 4.5",
  end: "M4 3.5 8.5 8 4 12.5M12 3.5v9",
  open: "M5.5 3.5 10 8l-4.5 4.5",
  undo: "M3 6.5h6.5a3.5 3.5 0 0 1 0 7H7M3 6.5 6 3.5M3 6.5l3 3",
  redo: "M13 6.5H6.5a3.5 3.5 0 0 0 0 7H9M13 6.5l-3-3M13 6.5l-3 3",
};

/** A small picture for a button; what it means is said by the button's label. */
export function icon(name) {
  const path = svg("path", { d: ICONS[name], fill: name === "play" ? "currentColor" : "none" });
  return svg("svg", { viewBox: "0 0 16 16", class: "rx-icon", "aria-hidden": "true" }, path);
}

/** A number of seconds as people say it. */
export function ago(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** The time of day of milliseconds since 1970, with the date where it is not today. */
export function clock(at) {
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  return (today ? "" : date.toLocaleDateString() + " ") + date.toLocaleTimeString([], { hour12: false });
}

export const count = (number) => Number(number).toLocaleString("en-US");

/** Initials of a name and a colour that is always the same for it. */
export function face(name) {
  const words = String(name).replace(HIDDEN, "").trim().split(/[\s_.@-]+/).filter(Boolean);
  const letters = words.length > 1 ? [...words[0]][0] + [...words[1]][0] : [...(words[0] ?? "?")].slice(0, 2).join("");
  let hash = 2166136261;
  for (const one of String(name)) hash = Math.imul(hash ^ one.codePointAt(0), 16777619) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 2246822507) >>> 0; // names that look alike come out far apart
  hash = Math.imul(hash ^ (hash >>> 13), 3266489909) >>> 0;
  return { letters: letters.toUpperCase(), hue: ((hash ^ (hash >>> 16)) >>> 2) % 360 };
}

/** Call at most once a frame, and not at all in a page that is not shown. */
export function eachFrame(draw) {
  let asked = 0;
  const run = () => {
    asked = 0;
    draw();
  };
  const ask = () => {
    asked ||= requestAnimationFrame(run);
  };
  ask.cancel = () => cancelAnimationFrame(asked);
  return ask;
}
