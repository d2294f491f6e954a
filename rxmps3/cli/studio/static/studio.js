// The page around the views.

import { h, visible } from "./dom.js";
import { Model } from "./carrier.js";

const shell = new Model("shell");
const title = h("h1", { class: "studio-title" });
const subtitle = h("div", { class: "studio-subtitle" });
const mode = h("span", { class: "studio-mode", role: "status" });
const tabs = h("nav", { class: "studio-tabs", role: "tablist", "aria-label": "Views" });
const main = h("main", { class: "studio-main", id: "view", role: "tabpanel", tabindex: -1 });
document.body.append(
  h("header", { class: "studio-head" },
    h("img", { src: "/static/icon.svg", alt: "", width: 28, height: 28 }),
    h("div", { class: "studio-names" }, title, subtitle), mode),
  tabs, main);

let shown = null; // { name, model, end }
let failures = 0; // of modules, each of which a browser may remember by its address

async function show(name) {
  if (shown?.name === name) return;
  shown?.end?.();
  shown?.model.end();
  const model = new Model(name);
  const here = (shown = { name, model, end: null });
  history.replaceState(null, "", `${location.pathname}${location.search}#${name}`);
  main.setAttribute("aria-labelledby", `tab-${name}`);
  for (const tab of tabs.children) {
    tab.setAttribute("aria-selected", String(tab.dataset.name === name));
    tab.tabIndex = tab.dataset.name === name ? 0 : -1;
    if (tab.dataset.name === name) tab.scrollIntoView({ block: "nearest", inline: "center" });
  }
  const el = h("div", { class: "studio-view" });
  main.replaceChildren(el);
  let render;
  try {
    ({ render } = await import(`/static/${name}.js${failures ? `?${failures}` : ""}`));
  } catch {
    failures += 1;
    if (shown !== here) return;
    shown = null; // so that it can be chosen again
    model.end();
    el.replaceChildren(h("div", { class: "studio-note", role: "alert" }, h("p", {}, "This view cannot be loaded: the command that served this page does not answer.")));
    return;
  }
  await model.ready;
  if (shown === here) here.end = render(model, el);
}

function drawTabs() {
  const views = shell.get("views") ?? [];
  tabs.replaceChildren(
    ...views.map(([name, label]) => h("button", { class: "studio-tab", type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "view", "data-name": name, onclick: () => show(name) }, label)));
}

tabs.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const all = [...tabs.children];
  const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
  next.focus();
  next.click();
  event.preventDefault();
});

let note = ""; // what is said while nothing is open

function draw() {
  title.textContent = visible(shell.get("title") ?? "");
  subtitle.textContent = visible(shell.get("subtitle") ?? "");
  document.title = `${visible(shell.get("title") ?? "")} · rxmps3 studio`;
  const said = !shell.connected ? "no answer" : shell.get("writable") ? "writing" : "read-only";
  if (mode.textContent !== said) mode.textContent = said;
  mode.className = `studio-mode${shell.connected ? (shell.get("writable") ? " studio-writing" : "") : " studio-gone"}`;
  mode.title = shell.connected ? "" : "The command that served this page does not answer";
  if (shell.get("opened")) {
    if (!tabs.children.length) drawTabs();
    const wanted = location.hash.slice(1);
    const names = (shell.get("views") ?? []).map(([name]) => name);
    if (!shown) show(names.includes(wanted) ? wanted : names[0]);
    return;
  }
  const trouble = shell.get("trouble") ?? [];
  const text = JSON.stringify(trouble);
  if (text === note) return; // the same would be read out again
  note = text;
  main.replaceChildren(
    h("div", { class: "studio-note", role: "status" },
      h("h2", {}, trouble.length ? "The database cannot be opened" : "Opening…"),
      trouble.map((line) => h("p", {}, visible(line)))));
}

for (const name of ["connected", "opened", "trouble", "views", "title", "subtitle"]) shell.on(name, draw);
draw();
