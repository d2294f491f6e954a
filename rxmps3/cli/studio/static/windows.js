// Two clients of one database, side by side.

import { h, visible } from "./dom.js";
import { Model } from "./carrier.js";
import { render as people } from "./presence.js";
import { render as controls } from "./controls.js";
import { render as table } from "./table.js";

const HUES = { warm: [38, 92], cold: [205, 85], red: [2, 82] };

function lampOf(model) {
  const lamp = h("div", { class: "lamp", role: "img" });
  const draw = () => {
    const value = model.get("value");
    if (!value) return;
    const [hue, saturation] = HUES[value.colour] ?? HUES.warm;
    const light = value.on ? 14 + value.brightness * 0.62 : 10;
    lamp.style.background = `hsl(${hue} ${value.on ? saturation : 8}% ${light}%)`;
    lamp.style.color = light > 48 ? "#1c2430" : "#f2f5fb";
    lamp.textContent = value.on ? `${value.brightness} %` : "off";
    lamp.setAttribute("aria-label", `The lamp: ${lamp.textContent}`);
  };
  model.on("value", draw);
  draw();
  return lamp;
}

async function open(who) {
  const [here, lamp, todo] = ["people", "lamp", "table"].map((name) => new Model(`${who}.${name}`));
  await Promise.all([here.ready, lamp.ready, todo.ready]);
  const parts = [people, controls, table].map((render, at) => {
    const el = h("div", {});
    queueMicrotask(() => render([here, lamp, todo][at], el));
    return el;
  });
  return h("section", { class: "window", id: who, "aria-label": `Window of ${who}` },
    h("div", { class: "window-bar" }, h("i", {}), h("i", {}), h("i", {}), h("span", {}, visible(who))),
    h("div", { class: "window-body" }, lampOf(lamp), parts[1], parts[2], parts[0]));
}

const both = h("div", { class: "windows" });
document.body.append(both, h("p", { class: "windows-foot" }, "Two clients, one folder, nothing between them: each polls it for itself. Ctrl-C in the terminal ends it."));
both.append(...(await Promise.all(["ana", "ben"].map(open))));
document.body.dataset.shown = "true";
