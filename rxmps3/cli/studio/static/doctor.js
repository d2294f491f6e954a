// What the storage can do.

import { h, enable, visible } from "./dom.js";
import { frame } from "./heart.js";

export function render(model, el) {
  const life = frame(model, el, { label: "Doctor" });
  const button = h("button", { class: "rx-button", type: "button", onclick: () => life.act("examine") }, "Examine the storage");
  const note = h("span", { class: "rx-dim" });
  const list = h("div", { class: "studio-list", role: "region", "aria-label": "What was found", tabindex: 0 });
  life.body.append(h("div", { class: "rx-panel" }, h("div", { class: "studio-bar" }, button, note), list));
  const draw = () => {
    const [rows, protocols] = [model.get("rows") ?? [], model.get("protocols") ?? []];
    enable(button, model.get("allowed") && !model.get("busy"));
    note.textContent = !model.get("allowed")
      ? "It writes and removes objects outside every manifest: start the studio with --write"
      : model.get("busy") ? visible(model.get("doing") || "…") : rows.length ? "" : "It writes and removes objects outside every manifest";
    list.replaceChildren(
      ...(rows.length
        ? [
          h("div", { class: "studio-chips" }, protocols.map(([name, usable, stops]) => h("span", { class: "rx-chip", title: visible(stops.join(", ")) }, `${name}: ${usable ? "can be used" : "cannot be used"}${name === model.get("recommended") ? " (recommended)" : ""}`))),
          h("table", { class: "studio-table" }, h("tbody", {}, rows.map((row) => h("tr", {},
            h("td", {}, h("span", { class: `studio-state studio-${row.state}` }, row.state)), h("td", {}, visible(row.check)), h("td", { class: "studio-long" }, visible(row.found)), h("td", { class: "rx-dim studio-long" }, visible(row.means)))))),
        ]
        : [h("div", { class: "studio-empty" }, model.get("busy") ? "Examining…" : "Not examined yet")]));
  };
  const offs = ["allowed", "busy", "doing", "rows", "protocols", "recommended"].map((name) => model.on(name, draw));
  draw();
  return () => {
    for (const off of offs) off();
    life.end();
  };
}
