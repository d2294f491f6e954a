// Lines and bars, drawn by uPlot; sparklines, drawn here.

import { h, svg, visible, eachFrame, focusedBeside, tell } from "./dom.js";
import { frame } from "./heart.js";
import { number } from "./cells.js";
import { uPlot } from "./vendor/uplot.js";

const HEIGHT = 260;
// Where the system's colours are forced, all lines have one.
const forced = matchMedia("(forced-colors: active)");
const DASHES = [[], [10, 5], [2, 4], [12, 4, 2, 4], [5, 3], [18, 6], [2, 8], [8, 3, 2, 3, 2, 3]];
const dash = (at) => (forced.matches ? DASHES[at % 8] : []);
const [DAY, MINUTE] = ["\n{D} {MMM} {YYYY}", "\n{D} {MMM} {HH}:{mm}"];
const TIMES = [ // seconds between ticks, their texts; and at the first one, of a new year, month, day, hour, minute, second
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
  [1, ":{ss}", MINUTE, null, MINUTE, null, "\n{HH}:{mm}", null, 1],
  [0.001, ":{ss}.{fff}", MINUTE, null, MINUTE, null, "\n{HH}:{mm}", null, 1],
];

export function render(model, el) {
  const life = frame(model, el, { label: "Chart", anew: () => life.ask("points") });
  const title = h("div", { class: "rx-title" });
  const more = h("span", { class: "rx-dim" });
  life.head.prepend(title, more);
  const place = h("div", { class: "rx-chart" });
  const probe = h("span", { hidden: true });
  const summary = h("div", { class: "rx-away" });
  const empty = h("div", { class: "rx-chart-empty rx-dim" }, "No numbers yet");
  const keys = h("div", { id: `${life.id}-keys`, hidden: true }, "Plus and minus zoom, the left and right arrows move, Home shows all");
  const said = h("div", { class: "rx-away", role: "status" }); // what a key has brought into sight
  life.body.append(empty, place, probe, summary, keys, said);

  let series = new Map(); // name → [xs, ys]
  let ahead = 0; // the kernel's clock minus this page's, in seconds
  let plot = null;
  let shape = "";
  let palette = "";
  let zoomed = false;

  const color = (name) => {
    probe.style.color = `var(--rx-${name})`;
    return getComputedStyle(probe).color;
  };
  const seriesColor = (at) => color((at % 8) + 1);
  const kind = () => model.get("chart");
  const texts = () => kind() === "bar" || model.get("axis") === "text";
  const now = () => Date.now() / 1000 + ahead;

  const add = (more, whole) => {
    for (const [name, [xs, ys]] of Object.entries(more)) {
      const known = whole ? undefined : series.get(name);
      if (!known) series.set(name, [xs, ys]);
      else for (let at = 0; at < xs.length; at++) known[0].push(xs[at]), known[1].push(ys[at]);
    }
    const seconds = model.get("window");
    if (!whole && seconds && model.get("sliding")) {
      for (const [xs, ys] of series.values()) {
        let old = 0;
        while (old < xs.length - 2 && xs[old + 1] < now() - seconds * 1.1) old++;
        if (old > 200 || (old && xs.length > 5000)) xs.splice(0, old), ys.splice(0, old);
      }
    }
  };

  // -- lines and bars ----------------------------------------------------------------------------------------

  const aligned = () => {
    const all = [...series.values()];
    if (texts()) {
      const labels = [...new Set(all.flatMap(([xs]) => xs))];
      const values = all.map(([xs, ys]) => {
        const up = new Map(xs.map((x, at) => [x, ys[at]]));
        return labels.map((label) => up.get(label) ?? null);
      });
      return { labels, data: [labels.map((_, at) => at), ...values] };
    }
    const end = now();
    const tables = all.map(([xs, ys]) => (model.get("sliding") && xs.length && !model.get("ended") ? [[...xs, Math.max(end, xs.at(-1))], [...ys, ys.at(-1)]] : [xs, ys]));
    return { labels: null, data: tables.length > 1 ? uPlot.join(tables) : (tables[0] ?? [[], []]) };
  };

  let labels = null;
  let legend = []; // what hides a line and shows it again
  const press = () => legend.forEach((name, at) => name.setAttribute("aria-pressed", String(plot.series[at + 1].show)));
  const saidAt = (at) => (at == null ? "" : texts() ? visible(labels?.[at] ?? "") : model.get("axis") === "time" ? new Date(at * 1000).toLocaleTimeString([], { hour12: false }) : number(at));
  const reset = () => {
    zoomed = false;
    draw();
  };
  /** Show a part of what there is, in the units of x. */
  const zoom = (low, high) => {
    const [first, last] = [plot.data[0][0], plot.data[0].at(-1)];
    const span = Math.max(high - low, (last - first) / 10000);
    if (!(span < last - first)) return reset();
    zoomed = true;
    const min = Math.min(Math.max(low, first), last - span);
    plot.setScale("x", { min, max: min + span });
  };
  const pressed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !plot.data[0].length) return;
    const { min, max } = plot.scales.x;
    const [middle, half, step] = [(min + max) / 2, (max - min) / 4, (max - min) / 5];
    if (event.key === "+" || event.key === "=") zoom(middle - half, middle + half);
    else if (event.key === "-" || event.key === "_") zoom(middle - 4 * half, middle + 4 * half);
    else if (event.key === "ArrowLeft") zoomed && zoom(min - step, max - step);
    else if (event.key === "ArrowRight") zoomed && zoom(min + step, max + step);
    else if (event.key === "Home" || event.key === "0") reset();
    else return;
    event.preventDefault();
    event.stopPropagation();
    queueMicrotask(() => tell(said, zoomed ? `From ${saidAt(plot.scales.x.min)} to ${saidAt(plot.scales.x.max)}` : "All is shown")); // the scale is set by then
  };
  const build = (data) => {
    const focused = focusedBeside(place);
    const held = focused && place.contains(focused) ? (legend.includes(focused) ? focused.textContent : "") : null;
    const kept = zoomed && plot ? { min: plot.scales.x.min, max: plot.scales.x.max } : null;
    plot?.destroy();
    const bars = kind() === "bar";
    const names = [...series.keys()];
    const count = names.length;
    const axis = { stroke: () => color("dim"), grid: { stroke: () => color("grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif", gap: 6 };
    const barPaths = (at) => uPlot.paths.bars({ size: [0.72 / count, 60], align: count === 1 ? 0 : at < count / 2 ? -1 : 1, radius: 0.12 });
    const options = {
      width: Math.max(place.clientWidth, 200),
      height: HEIGHT,
      cursor: { drag: { x: true, y: false }, points: { size: 7 } },
      legend: { show: true, live: true },
      scales: {
        x: { time: model.get("axis") === "time" && !texts(), range: (u, low, high) => rangeX(low, high) },
        y: { range: (u, low, high) => (bars ? [Math.min(0, low), high * 1.08 || 1] : spread(low, high)) },
      },
      axes: [
        { ...axis, ...(texts() ? { values: (u, ticks) => ticks.map((at) => (Number.isInteger(at) ? cut(labels?.[at] ?? "") : "")), splits: () => places(labels?.length ?? 0), grid: { show: false } } : model.get("axis") === "time" ? { values: TIMES } : {}) },
        { ...axis, size: 58, values: (u, ticks) => ticks.map((one) => number(one)) },
      ],
      series: [
        { label: visible(model.get("across")), value: (u, at) => saidAt(at) },
        ...names.map((name, at) => ({
          label: visible(name),
          stroke: () => seriesColor(at),
          fill: bars && !(forced.matches && at % 2) ? () => seriesColor(at).replace("rgb(", "rgba(").replace(")", ", .75)") : undefined,
          width: forced.matches ? 2.25 : 1.75,
          dash: dash(at),
          spanGaps: true,
          points: { show: texts() || !model.get("sliding") ? undefined : false, size: 5 },
          paths: bars ? barPaths(at) : undefined,
          value: (u, up) => (up == null ? "–" : number(up)),
        })),
      ],
      hooks: {
        ready: [() => queueMicrotask(latest)], // a new plot empties its legend
        setSeries: [() => queueMicrotask(press)],
        setSelect: [(u) => { zoomed = u.select.width > 0; }],
      },
    };
    place.replaceChildren();
    plot = new uPlot(options, data, place);
    if (forced.matches && !bars) {
      [...place.querySelectorAll(".u-marker")].slice(1).forEach((marker, at) => {
        marker.classList.add("rx-dashed");
        marker.replaceChildren(svg("svg", { viewBox: "0 0 26 10", width: 26, height: 10 }, svg("line", { x1: 0, x2: 26, y1: 5, y2: 5, stroke: "currentColor", "stroke-width": 2, "stroke-dasharray": DASHES[at % 8].join(" ") })));
      });
    }
    const wrap = plot.root.querySelector(".u-wrap");
    for (const one of wrap.children) one.setAttribute("aria-hidden", "true"); // the summary says it
    if (!texts()) { // which has no part to zoom into
      wrap.tabIndex = 0;
      wrap.setAttribute("role", "application"); // so that screen readers leave the keys to it
      wrap.setAttribute("aria-label", "Drawing");
      wrap.setAttribute("aria-describedby", keys.id);
      wrap.setAttribute("aria-keyshortcuts", "+ - ArrowLeft ArrowRight Home");
      wrap.addEventListener("keydown", pressed);
    }
    legend = [...place.querySelectorAll(".u-legend .u-label")].slice(1);
    for (const name of legend) {
      name.tabIndex = 0;
      name.setAttribute("role", "button");
      name.title = "Hide or show it";
      name.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        name.click();
        event.preventDefault();
      });
    }
    press();
    if (held !== null) (legend.find((one) => one.textContent === held) ?? wrap).focus({ preventScroll: true }); // a new line takes it from nobody
    if (kept) plot.setScale("x", kept); // a new line does not end that
    plot.over.addEventListener("dblclick", reset);
  };

  const places = (n) => {
    const step = Math.max(1, Math.ceil(n / Math.max(2, Math.floor((place.clientWidth || 400) / 90))));
    return Array.from({ length: Math.ceil(n / step) }, (_, at) => at * step);
  };
  const cut = (text) => (visible(text).length > 14 ? visible(text).slice(0, 13) + "…" : visible(text));
  const spread = (low, high) => {
    if (low == null) return [0, 1];
    const room = (high - low || Math.abs(high) || 1) * 0.08;
    return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
  };
  const rangeX = (low, high) => {
    if (texts()) return [-0.6, (labels?.length ?? 1) - 0.4];
    if (zoomed) return [low, high];
    const seconds = model.get("window");
    if (model.get("sliding") && seconds) return [Math.max(now() - seconds, Math.min(low ?? 0, now() - seconds / 6)), now()];
    return low === high ? [low - 1, high + 1] : [low ?? 0, high ?? 1];
  };

  /** What the legend says while the mouse is elsewhere. */
  const latest = () => {
    const last = (plot?.data[0].length ?? 0) - 1;
    if (last >= 0 && plot.cursor.idx == null) plot.setLegend({ idx: last }, false);
  };

  const drawPlot = () => {
    const made = aligned();
    labels = made.labels;
    const next = JSON.stringify([kind(), model.get("axis"), texts(), [...series.keys()]]);
    if (next !== shape || !plot) {
      shape = next;
      build(made.data);
    } else if (!zoomed) plot.setData(made.data);
    latest();
  };

  // -- sparklines --------------------------------------------------------------------------------------------

  const drawSparks = () => {
    const width = Math.max(60, Math.min(220, place.clientWidth - 170));
    const height = 30;
    place.replaceChildren(
      h("div", { class: "rx-sparks" }, [...series].map(([name, [xs, ys]], at) => {
        const seconds = model.get("window");
        const end = model.get("sliding") ? now() : xs.at(-1);
        const begin = model.get("sliding") && seconds ? end - seconds : xs[0];
        const shown = xs.map((x, index) => [x, ys[index]]).filter(([x], index) => x >= begin || xs[index + 1] >= begin);
        if (model.get("sliding") && shown.length) shown.push([end, shown.at(-1)[1]]);
        const low = Math.min(...shown.map(([, up]) => up));
        const high = Math.max(...shown.map(([, up]) => up));
        const points = shown.map(([x, up]) => [(Math.max(x - begin, 0) / (end - begin || 1)) * width, high === low ? height / 2 : height - 3 - ((up - low) / (high - low)) * (height - 6)]);
        const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
        const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "rx-spark", "aria-hidden": "true", style: `color: var(--rx-${(at % 8) + 1})` });
        if (points.length) drawn.append(
          svg("polygon", { points: `${points[0][0].toFixed(1)},${height} ${line} ${points.at(-1)[0].toFixed(1)},${height}`, fill: "currentColor", opacity: 0.13 }),
          svg("polyline", { points: line, fill: "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-linejoin": "round" }),
          svg("circle", { cx: Math.min(points.at(-1)[0], width - 3), cy: points.at(-1)[1], r: 2.6, fill: "currentColor" }),
        );
        return [h("span", { class: "rx-spark-name", title: visible(name) }, visible(name)), drawn, h("span", { class: "rx-spark-value" }, number(ys.at(-1)))];
      })),
    );
  };

  const draw = () => {
    empty.hidden = series.size > 0;
    place.hidden = series.size === 0;
    if (!series.size || !place.isConnected) return;
    if (kind() === "spark") drawSparks();
    else drawPlot();
  };
  const drawSoon = eachFrame(draw);

  const named = () => {
    title.textContent = visible(model.get("title") || "");
    const left = model.get("more");
    more.textContent = left ? `and ${left} more` : "";
  };
  const heard = (message) => {
    if (message.kind === "points" && message.view === life.id) {
      ahead = message.now - Date.now() / 1000;
      if (Math.abs(ahead) < 2) ahead = 0;
      series = new Map();
      add(message.series, true);
    } else if (message.kind === "add") add(message.series, false);
    else if (message.kind === "set") {
      add(message.series, true);
      for (const name of message.gone) series.delete(name);
    } else return;
    drawSoon();
  };
  let ticks = 0;
  const timer = setInterval(() => {
    if (document.hidden || !series.size) return;
    if (model.get("sliding") && !model.get("ended")) drawSoon();
    if (ticks++ % 8) return;
    const latest = [...series].slice(0, 10).map(([name, [, ys]]) => `${visible(name)} ${number(ys.at(-1))}`);
    summary.textContent = `${series.size} series. Latest: ${latest.join(", ")}`;
    const colors = color("1") + color("dim") + color("grid") + forced.matches;
    if (palette && colors !== palette) {
      shape = ""; // the legend keeps the colours that it was made with
      drawSoon();
    }
    palette = colors;
  }, 250);
  const sized = new ResizeObserver(() => {
    if (plot && place.clientWidth) plot.setSize({ width: place.clientWidth, height: HEIGHT });
    drawSoon();
  });
  sized.observe(life.body);
  const offs = [model.on("message", heard), model.on("title", named), model.on("more", named), model.on("axis", drawSoon)];
  named();
  draw();
  life.ask("points");
  return () => {
    for (const off of offs) off();
    clearInterval(timer);
    sized.disconnect();
    drawSoon.cancel();
    plot?.destroy();
    life.end();
  };
}
