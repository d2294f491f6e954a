// Who is here.

import { h, visible, ago, face } from "./dom.js";
import { frame } from "./heart.js";

export function render(model, el) {
  const life = frame(model, el, { label: "Who is here" });
  const title = h("div", { class: "rx-title" });
  life.head.prepend(title);
  const list = h("ul", { class: "rx-people" });
  const field = h("div", { class: "rx-field rx-panel", "aria-label": "Where everybody points", role: "img" }, h("span", { class: "rx-dim" }, "Point here: everybody sees it"));
  life.body.append(list, field);
  const pointers = new Map();

  const draw = () => {
    const people = model.get("people") ?? [];
    const all = people.length + (model.get("more") || 0);
    title.textContent = `${visible(model.get("title") || "")} · ${all}`;
    const now = Date.now() / 1000;
    list.replaceChildren(
      ...people.map((one) => {
        const { letters, hue } = face(one.name);
        return h("li", { class: `rx-person${one.own ? " rx-own" : ""}` },
          h("span", { class: "rx-face", style: `--hue:${hue}`, "aria-hidden": "true" }, letters),
          h("div", { class: "rx-who-is" },
            h("div", { class: "rx-name" }, visible(one.name), one.own ? h("span", { class: "rx-dim" }, " (you)") : ""),
            h("div", { class: "rx-dim rx-since" }, `here for ${ago(now - one.since)}`)),
          one.says.length ? h("div", { class: "rx-says" }, one.says.map(([name, text]) => h("span", { class: "rx-chip" }, name ? h("span", { class: "rx-dim" }, visible(name)) : "", visible(text)))) : "");
      }),
      model.get("more") ? h("li", { class: "rx-dim" }, `and ${model.get("more")} more`) : "",
      people.length ? "" : h("li", { class: "rx-dim" }, "Nobody is here"),
    );
    field.hidden = !model.get("cursors");
    if (field.hidden) return;
    const seen = new Set();
    for (const one of people) {
      if (!one.cursor) continue;
      seen.add(one.id);
      const { hue } = face(one.name);
      let pointer = pointers.get(one.id);
      if (!pointer) {
        pointer = h("div", { class: "rx-pointer", style: `--hue:${hue}` }, h("span", {}));
        pointers.set(one.id, pointer);
        field.append(pointer);
      }
      pointer.firstChild.textContent = visible(one.name);
      const [x, y] = [one.cursor.x, one.cursor.y].map((at) => Math.min(Math.max(at, 0), 1));
      pointer.style.left = `${x * 100}%`;
      pointer.style.top = `${y * 100}%`;
      pointer.style.setProperty("--x", x); // the name stays in the field
      pointer.classList.toggle("rx-right", x > 0.7);
      pointer.classList.toggle("rx-low", y > 0.7);
    }
    for (const [id, pointer] of pointers) {
      if (seen.has(id)) continue;
      pointer.remove();
      pointers.delete(id);
    }
  };

  let waiting = null;
  let timer = 0;
  const tell = (place) => {
    waiting = place;
    timer ||= setTimeout(() => {
      timer = 0;
      life.ask("cursor", waiting);
    }, 100);
  };
  field.addEventListener("pointermove", (event) => {
    const box = field.getBoundingClientRect();
    tell({ x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
  });
  const away = () => tell({});
  field.addEventListener("pointerleave", away);
  const hidden = () => document.hidden && waiting?.x !== undefined && away();
  document.addEventListener("visibilitychange", hidden);

  const offs = ["people", "more", "cursors", "title"].map((name) => model.on(name, draw));
  const clock = setInterval(() => !document.hidden && draw(), 10000);
  draw();
  return () => {
    clearInterval(clock);
    document.removeEventListener("visibilitychange", hidden);
    clearTimeout(timer);
    for (const off of offs) off();
    life.end();
  };
}
