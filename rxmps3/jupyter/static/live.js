// The latest value of an Observable.

import { h, focusedBeside } from "./dom.js";
import { frame } from "./heart.js";

const INSIDE = `
let draw = () => {};
const scripts = [];
const place = document.getElementById("place");
const drawers = {
  plotly: (figure) => Plotly.react(place, figure.data, figure.layout, { responsive: true, displaylogo: false }),
  bokeh: (item) => { place.replaceChildren(); return Bokeh.embed.embed_item(item, "place"); },
};
addEventListener("message", async ({ data }) => {
  if (data.scripts) for (const text of data.scripts) {
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
  }
  if (data.chart) {
    await drawers[data.chart.library](JSON.parse(data.chart.data));
    parent.postMessage({ height: document.documentElement.scrollHeight }, "*");
  }
});
new ResizeObserver(() => parent.postMessage({ height: place.scrollHeight }, "*")).observe(place);
parent.postMessage({ ready: true }, "*");
`;

export function render(model, el) {
  const life = frame(model, el, { label: "Latest value", age: true, anew: () => chart?.again() });
  // JupyterLab's own class: what draws itself, as data frames do, looks as it does in other outputs.
  const value = h("div", { class: "jp-RenderedHTMLCommon rxmps3-live" });
  life.body.append(value);

  let chart = null; // the frame of a library's own JavaScript, from which nothing reaches this page
  const close = () => {
    chart?.end();
    chart = null;
  };
  const open = (library) => {
    const inside = h("iframe", { class: "rx-chart-frame", sandbox: "allow-scripts", title: `${library} chart` });
    inside.srcdoc = `<!doctype html><meta charset="utf-8"><style>body{margin:0;background:#fff}</style><div id="place"></div><script>${INSIDE}</script>`;
    let started = false;
    let ready = false;
    const tell = (message) => inside.contentWindow?.postMessage(message, "*");
    const draw = () => ready && tell({ chart: model.get("chart") });
    const again = () => started && !ready && life.ask("library", { name: library });
    const heard = ({ source, data }) => {
      if (source !== inside.contentWindow) return;
      if (data.ready) {
        started = true;
        again();
      }
      if (Number.isFinite(data.height)) inside.style.height = `${Math.min(Math.max(data.height, 60), 2000)}px`;
    };
    addEventListener("message", heard);
    const off = model.on("message", (message) => {
      if (message.kind !== "library" || message.view !== life.id) return;
      tell({ scripts: message.scripts });
      ready = true;
      draw();
    });
    value.before(inside);
    return {
      library,
      again,
      draw,
      end() {
        off();
        removeEventListener("message", heard);
        inside.remove();
      },
    };
  };

  const show = () => {
    const drawn = model.get("chart");
    if (chart && chart.library !== drawn?.library) close();
    if (drawn) chart ??= open(drawn.library);
    chart?.draw();
    const reachable = () => [...value.querySelectorAll("a[href], summary, button, input, select, textarea, [tabindex]")];
    const held = reachable().indexOf(focusedBeside(value));
    const unfolded = [...value.querySelectorAll("details")].map((one) => one.open);
    value.innerHTML = model.get("html"); // escaped or cleaned in Python, but for what objects draw of themselves
    const details = value.querySelectorAll("details");
    if (details.length === unfolded.length) details.forEach((one, at) => { one.open = unfolded[at]; });
    if (held >= 0) reachable()[held]?.focus({ preventScroll: true });
    value.hidden = !value.innerHTML;
  };
  const aged = () => life.news(model.get("at") || 0);
  const offs = [model.on("html", show), model.on("chart", show), model.on("at", aged)];
  show();
  aged();
  return () => {
    for (const off of offs) off();
    close();
    life.end();
  };
}
