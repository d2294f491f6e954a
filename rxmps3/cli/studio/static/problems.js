// What has gone wrong.

import { h, visible, clock } from "./dom.js";
import { frame } from "./heart.js";

export function render(model, el) {
  const life = frame(model, el, { label: "Problems" });
  const list = h("div", { class: "studio-list", role: "region", "aria-label": "Problems", tabindex: 0 });
  const said = h("div", { class: "rx-away", role: "status" });
  life.body.append(h("div", { class: "rx-panel" }, list), said);
  const draw = () => {
    const problems = model.get("problems") ?? [];
    list.replaceChildren(
      problems.length
        ? h("table", { class: "studio-table" },
          h("thead", {}, h("tr", {}, ["time", "while", "object", "what happened"].map((name) => h("th", {}, name)))),
          h("tbody", {}, problems.map((one) => h("tr", {},
            h("td", { class: "rx-dim" }, clock(one.time * 1000)), h("td", {}, visible(one.operation)), h("td", { class: "studio-long" }, visible(one.object)),
            h("td", { class: "studio-long" }, visible(one.error), one.note ? h("div", { class: "rx-dim" }, visible(one.note)) : "")))))
        : h("div", { class: "studio-empty" }, model.get("status")?.online === false ? "The database is offline, for the reason below" : "Nothing has gone wrong since this view was opened"));
  };
  const off = model.on("problems", () => {
    draw();
    const newest = (model.get("problems") ?? [])[0];
    if (newest) said.textContent = `${visible(newest.operation)}: ${visible(newest.error)}`;
  });
  const offStatus = model.on("status", draw);
  draw();
  return () => {
    off();
    offStatus();
    life.end();
  };
}
