// What changed between two versions.

import { h, visible, count } from "./dom.js";
import { frame } from "./heart.js";

export function render(model, el) {
  const life = frame(model, el, { label: "Compare" });
  const field = (label, placeholder) => h("input", { class: "rx-input", type: "text", "aria-label": label, placeholder, spellcheck: "false" });
  const old = field("Old version", "the beginning");
  const fresh = field("New version", "now");
  old.value = model.get("old") || "";
  fresh.value = model.get("new") || "";
  const compare = () => life.act("compare", { old: old.value, new: fresh.value });
  const form = h("form", { class: "studio-bar", onsubmit: (event) => { event.preventDefault(); compare(); } },
    h("label", {}, "from", old), h("label", {}, "to", fresh), h("button", { class: "rx-button", type: "submit" }, "Compare"),
    h("span", { class: "rx-dim" }, "a version, a tag, or a time such as 2026-11-29T10:00"));
  const list = h("div", { class: "studio-list", role: "region", "aria-label": "Differences", tabindex: 0 });
  const said = h("div", { class: "rx-away", role: "status" });
  life.body.append(h("div", { class: "rx-panel" }, form, list), said);

  const side = (text, kind) => h("pre", { class: kind }, text === null ? "" : visible(text));
  const draw = () => {
    const changes = model.get("changes") ?? [];
    list.replaceChildren(
      ...changes.map(([key, before, after]) => h("div", { class: "studio-diff" }, h("span", { class: "rx-key-name" }, visible(key)), side(before, "studio-old"), side(after, "studio-new"))),
      model.get("more") ? h("div", { class: "rx-dim" }, `and ${count(model.get("more"))} more`) : "",
      changes.length ? "" : h("div", { class: "studio-empty" }, model.get("busy") ? "Reading…" : "No differences"));
  };
  const say = () => {
    const all = (model.get("changes") ?? []).length + model.get("more");
    if (!model.get("busy")) said.textContent = all === 1 ? "1 difference" : `${count(all)} differences`;
  };
  const offs = [model.on("busy", say), ...["changes", "more", "busy"].map((name) => model.on(name, draw))];
  draw();
  requestAnimationFrame(compare);
  return () => {
    for (const off of offs) off();
    life.end();
  };
}
