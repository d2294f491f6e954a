// What the studio's own requests cost.

import { h, visible } from "./dom.js";
import { frame } from "./heart.js";

const STATES = {
  slowed: "Polling is slower than asked for, to stay within the budget",
  passed: "Reads and writes alone spend more than the budget",
};

export function render(model, el) {
  const life = frame(model, el, { label: "Cost" });
  const list = h("div", { class: "studio-list", role: "region", "aria-label": "Requests and money", tabindex: 0 });
  life.body.append(h("div", { class: "rx-panel" }, list));
  const draw = () => {
    const rooms = model.get("rooms") ?? [];
    const row = (name, cells, cell = "td") => h("tr", {}, h(cell, {}, name), cells.map((text) => h(cell, { class: "studio-figure" }, text)));
    const figures = (one) => [...one.requests.map((count) => count.toLocaleString()), one.bytes_up.toLocaleString(), one.bytes_down.toLocaleString(), one.per_month];
    list.replaceChildren(
      h("p", {}, visible(model.get("pace") ?? "")),
      h("table", { class: "studio-table" },
        h("thead", {}, row("for", ["put", "list", "get", "delete", "bytes up", "bytes down", `${visible(model.get("currency") ?? "")} a month`], "th")),
        h("tbody", {}, rooms.map((one) => row(one.room, figures(one))))),
      h("p", { class: "rx-dim" }, STATES[model.get("budget")] ?? "", " Counted are the requests of this studio; money is at the pace of the last ten minutes, by the prices of ", visible(model.get("prices") ?? ""), "."));
  };
  const offs = ["rooms", "pace", "budget"].map((name) => model.on(name, draw));
  draw();
  return () => {
    for (const off of offs) off();
    life.end();
  };
}
