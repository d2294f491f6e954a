// Who overwrote what without having seen it.

import { h, visible, clock, count, tell } from "./dom.js";
import { frame } from "./heart.js";

const WHAT = {
  overwritten: ["overwritten unseen", "studio-bad", "Something of the first value is gone"],
  merged: ["merged", "studio-good", "All that the first one changed is still there"],
  same: ["same value", "", "Both wrote the same"],
  unknown: ["one on the other", "studio-limited", "Values so large are not compared here"],
  refused: ["refused", "studio-limited", "A write of this studio was taken back"],
};

export function render(model, el) {
  const life = frame(model, el, { label: "Conflicts" });
  const search = h("input", { class: "rx-input", type: "search", placeholder: "Search keys, names, values", "aria-label": "Search the conflicts", spellcheck: "false" });
  const summary = h("span", { class: "rx-dim", role: "status" });
  const list = h("div", { class: "studio-list", tabindex: 0, role: "region", "aria-label": "Conflicts found" });
  life.body.append(h("div", { class: "rx-panel" }, h("div", { class: "studio-bar" }, search, summary), list));

  const who = (by) => h("strong", {}, by ? visible(by) : "somebody");
  const at = (id) => (id ? h("span", { class: "rx-dim" }, ` in version ${id}`) : "");
  const side = (by, id, text, verb, kind) => h("div", {},
    h("div", {}, who(by), h("span", { class: "rx-dim" }, text === null ? " deleted it" : verb), at(id)),
    text === null ? "" : h("pre", { class: kind }, visible(text)));
  const story = (one) => {
    if (one.what === "refused") return "What is there instead stayed";
    const others = one.unseen > 1 ? ` and ${count(one.unseen - 1)} before it` : "";
    return `The second write was made at version ${one.based}, before its writer had seen the first${others}`;
  };
  const item = (one) => {
    const [label, kind, title] = WHAT[one.what] ?? WHAT.unknown;
    const heading = h("div", { class: "studio-conflict-head" },
      h("span", { class: "rx-key-name" }, visible(one.key)), h("span", { class: `studio-state ${kind}`, title }, label),
      h("span", { class: "rx-dim" }, one.time ? clock(one.time * 1000) : ""));
    return h("article", { class: "studio-conflict", "aria-label": `${visible(one.key)}: ${label}` }, heading,
      h("div", { class: "rx-dim" }, story(one)),
      h("div", { class: "studio-sides" },
        side(one.first_by, one.first_id, one.first, " wrote", one.what === "overwritten" || one.what === "refused" ? "studio-old" : ""),
        side(one.then_by, one.then_id, one.then, one.what === "refused" ? " has there" : one.what === "overwritten" ? " put this in its place" : " made of it", "")));
  };

  const draw = () => {
    const all = model.get("conflicts") ?? [];
    const wanted = search.value.trim().toLowerCase();
    const text = (one) => [one.key, one.first_by, one.then_by, one.first, one.then, WHAT[one.what]?.[0]].join("\n").toLowerCase();
    const found = wanted ? all.filter((one) => text(one).includes(wanted)) : all;
    const since = model.get("since");
    tell(summary, !model.get("told")
      ? "This log does not say on what its writes were based: only writes of this studio that were refused are shown"
      : model.get("reading") ? "Reading the log…"
        : `${count(found.length)}${wanted ? ` of ${count(all.length)}` : ""} ${all.length === 1 ? "conflict" : "conflicts"}${since ? ` since version ${since}` : ""}`);
    list.replaceChildren(...(found.length ? found.map(item) : [h("div", { class: "studio-empty" },
      wanted ? "Nothing found" : model.get("reading") ? "Reading…" : "Nobody has overwritten what they had not seen")]));
  };
  search.addEventListener("input", draw);
  const offs = ["conflicts", "told", "reading", "since"].map((name) => model.on(name, draw));
  draw();
  return () => {
    for (const off of offs) off();
    life.end();
  };
}
