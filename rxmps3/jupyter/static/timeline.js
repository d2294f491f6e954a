// A slider over the log.

import { h, icon, visible, clock, count, enable, face, focusedBeside } from "./dom.js";
import { frame } from "./heart.js";

const SPEEDS = [0.5, 1, 2, 5, 10, 25];

export function render(model, el) {
  const life = frame(model, el, { label: "Timeline", anew: () => drawPlace() });
  const title = h("div", { class: "rx-title" }, visible(model.get("title") || ""));
  life.head.prepend(title);

  const act = (kind, more, over = () => {}) => life.act(kind, more, {
    done: over,
    failed(reason) {
      over();
      drawPlace();
      life.say(`Not done: ${reason}`);
    },
  });
  let moves = 0;
  let mine = null; // the version that this page asked for last, until that was heard
  const aim = () => mine ?? model.get("aim");
  const move = (at, follow) => {
    const own = ++moves;
    mine = Math.min(Math.max(at, model.get("first")), model.get("last"));
    drawPlace();
    act("go", { at, follow }, () => {
      if (own === moves) mine = null;
    });
  };
  const button = (name, label, onclick) => h("button", { class: "rx-button", type: "button", "aria-label": label, title: label, onclick }, icon(name));
  const go = (at, follow = false) => {
    stepped = true;
    move(at, follow);
  };
  const back = button("back", "One version back", () => go(aim() - 1));
  const forward = button("forward", "One version forward", () => go(aim() + 1, true));
  const play = h("button", { class: "rx-button rx-play", type: "button", onclick: () => (model.get("playing") ? act("pause") : act("play", { speed: Number(speed.value) })) });
  const speed = h("select", { class: "rx-input", "aria-label": "Versions a second" }, SPEEDS.map((one) => h("option", { value: one, selected: one === 2 }, `${one} a second`)));
  speed.addEventListener("change", () => model.get("playing") && act("play", { speed: Number(speed.value) }));
  const follow = h("button", { class: "rx-button", type: "button", onclick: () => act("follow") }, icon("end"), "now");
  const slider = h("input", { type: "range", class: "rx-range", step: 1, "aria-label": "Version of the log" });
  const place = h("span", { class: "rx-dim rx-place" });
  let dragging = false;
  slider.addEventListener("input", () => {
    dragging = true;
    move(Number(slider.value), true);
  });
  slider.addEventListener("change", () => {
    dragging = false;
  });

  const who = h("div", { class: "rx-moment" });
  const changes = h("div", { class: "rx-changes", role: "group", "aria-label": "What it changed", tabindex: 0 });
  const state = h("div", { class: "rx-then", role: "group", "aria-label": "What there was", tabindex: 0 });
  const said = h("div", { class: "rx-away", role: "status" });
  let stepped = false; // by a button, which says nothing of where that leads; the slider does
  const then = h("div", { class: "rx-moments" },
    who,
    h("div", { class: "rx-two" },
      h("section", {}, h("h4", {}, "What it changed"), changes),
      h("section", {}, h("h4", {}, "What there was"), state)));
  life.body.append(
    h("div", { class: "rx-panel rx-timeline" }, h("div", { class: "rx-bar" }, back, play, forward, slider, place, speed, follow), then),
    said,
  );

  const drawPlace = () => {
    const [first, last, at] = [model.get("first"), model.get("last"), aim()];
    slider.min = first;
    slider.max = last;
    if (!dragging) slider.value = at;
    fillRange(slider);
    slider.setAttribute("aria-valuetext", `version ${at} of ${last}`);
    place.textContent = `${count(at)} / ${count(last)}`;
    enable(back, at > first);
    enable(forward, at < last);
    then.setAttribute("aria-busy", at !== model.get("at"));
    const playing = model.get("playing");
    play.replaceChildren(icon(playing ? "pause" : "play"));
    play.setAttribute("aria-label", playing ? "Pause" : "Play");
    play.title = playing ? "Pause" : "Play";
    follow.setAttribute("aria-pressed", Boolean(model.get("following")));
  };

  const drawMoment = () => {
    const moment = model.get("moment");
    if (!moment) {
      who.replaceChildren(h("span", { class: "rx-dim" }, "Reading…"));
      return;
    }
    const { letters, hue } = face(moment.by || "?");
    who.replaceChildren(
      ...(moment.by ? [h("span", { class: "rx-face rx-small", style: `--hue:${hue}`, "aria-hidden": "true" }, letters), h("strong", {}, visible(moment.by))] : []),
      h("span", { class: "rx-dim" }, moment.date ? clock(moment.date * 1000) : ""),
      h("span", { class: "rx-dim" }, moment.changed ? `${count(moment.changed)} ${moment.changed === 1 ? "key" : "keys"} changed` : ""),
    );
    const touched = new Set(moment.changes.map(([key]) => key));
    const prefix = (model.get("prefix") || "").replace(/[^/]*$/, "");
    const pressed = focusedBeside(life.body);
    const held = pressed?.dataset?.large; // a button that gives way to its text
    const list = pressed?.closest?.(".rx-changes, .rx-then");
    /** A text; or a button for one that is too large to be there before somebody looks at it. */
    const part = (key, shown) => {
      if (typeof shown !== "object") return visible(shown);
      const button = h("button", { class: "rx-large", type: "button", "data-large": `${key}\n${shown.version}`, title: "Download it", "aria-label": `${shown.large}: download ${visible(key)}` }, shown.large);
      button.addEventListener("click", () => {
        button.textContent = "reading…";
        act("look", { key, version: shown.version });
      });
      return button;
    };
    const short = (key) => visible(key.startsWith(prefix) ? key.slice(prefix.length) || key : key);
    changes.replaceChildren(
      ...moment.changes.map(([key, before, after]) =>
        h("div", { class: "rx-change" },
          h("span", { class: "rx-key-name", title: visible(key) }, short(key)),
          h("span", { class: "rx-diff" },
            before === null ? null : h("del", {}, part(key, before)),
            after === null ? h("em", { class: "rx-dim" }, "deleted") : h("ins", {}, part(key, after))))),
      moment.changed > moment.changes.length ? h("div", { class: "rx-dim" }, `and ${count(moment.changed - moment.changes.length)} more`) : "",
      moment.changes.length ? "" : h("div", { class: "rx-dim" }, "Nothing here"),
    );
    state.replaceChildren(
      ...moment.keys.map(([key, text]) =>
        h("div", { class: `rx-change${touched.has(key) ? " rx-touched" : ""}` },
          h("span", { class: "rx-key-name", title: visible(key) }, short(key)), h("span", { class: "rx-text" }, part(key, text)))),
      moment.total > moment.keys.length ? h("div", { class: "rx-dim" }, `and ${count(moment.total - moment.keys.length)} more`) : "",
      moment.keys.length ? "" : h("div", { class: "rx-dim" }, "No keys"),
    );
    if (stepped && model.get("at") === aim()) {
      stepped = false;
      const [key] = moment.changes[0] ?? [];
      const many = moment.changed === 1 ? visible(key) : `${count(moment.changed)} keys`;
      said.textContent = `Version ${model.get("at")}${moment.by ? ` by ${visible(moment.by)}` : ""} changed ${moment.changed ? many : "nothing here"}`;
    }
    if (held) ([...life.body.querySelectorAll("[data-large]")].find((one) => one.dataset.large === held) ?? list).focus({ preventScroll: true });
  };

  const offs = [
    ...["first", "last", "at", "aim", "playing", "following"].map((name) => model.on(name, drawPlace)),
    model.on("moment", drawMoment),
  ];
  drawPlace();
  drawMoment();
  return () => {
    for (const off of offs) off();
    life.end();
  };
}

/** How far a slider is, for its colours. */
export function fillRange(slider) {
  const [low, high] = [Number(slider.min), Number(slider.max)];
  slider.style.setProperty("--rx-done", `${high > low ? ((slider.value - low) / (high - low)) * 100 : 100}%`);
}
