// A database opened up.

import { h, icon, visible, clock, count, face, focusedBeside } from "./dom.js";
import { frame } from "./heart.js";

export function render(model, el) {
  const life = frame(model, el, { label: "Inspector", anew: () => {
    refresh();
    if (chosen !== null) life.ask("watch", { key: chosen });
  } });
  const title = h("div", { class: "rx-title" });
  life.head.prepend(title);

  // -- keys --------------------------------------------------------------------------------------------------

  const tree = h("div", { class: "rx-tree", role: "tree", "aria-label": "Keys" });
  const find = h("input", { class: "rx-input", type: "search", placeholder: "Find a key", "aria-label": "Find a key" });
  const [keyName, about] = [h("div", { class: "rx-key-name" }), h("div", { class: "rx-dim" }, "Choose a key")];
  const content = h("pre", { class: "rx-json-text", tabindex: 0, hidden: true });
  const value = h("div", { class: "rx-value" }, keyName, about, content);
  const open = new Set([""]);
  const known = new Map(); // path → what is in it
  let chosen = null;
  let found = null;

  const ask = (path) => life.ask("children", { path });
  const toggle = (path) => {
    if (open.has(path)) open.delete(path);
    else {
      open.add(path);
      ask(path);
    }
    draw();
  };
  const choose = (key) => {
    chosen = key;
    life.ask("watch", { key });
    draw();
  };

  const kept = new Map(); // name → element: what is pressed stays where it is while others change the keys
  const item = (label, depth, { path, key, inner }) => {
    const folder = path !== undefined;
    const isOpen = folder && open.has(path);
    const name = path ?? key;
    const id = `${folder} ${name}`;
    let one = kept.get(id);
    if (!one) {
      one = h("div", { role: "treeitem", tabindex: -1, "data-name": name, onclick: () => (folder ? toggle(path) : choose(key)) },
        h("span", { class: "rx-twist" }, folder ? icon("open") : ""), h("span", { class: "rx-label" }, visible(label)), folder ? h("span", { class: "rx-dim rx-count" }) : "");
      kept.set(id, one);
    }
    const chosenHere = key !== undefined && key === chosen;
    one.className = `rx-item${chosenHere ? " rx-chosen" : ""}`;
    one.style.setProperty("--depth", depth);
    one.setAttribute("aria-level", depth + 1);
    one.setAttribute("aria-selected", String(chosenHere));
    one.tabIndex = -1;
    if (folder) {
      one.setAttribute("aria-expanded", String(isOpen));
      one.firstChild.classList.toggle("rx-open", isOpen);
      one.lastChild.textContent = count(inner);
    }
    return one;
  };

  const level = (path, depth) => {
    const inside = known.get(path);
    if (!inside) return [h("div", { class: "rx-dim rx-item", style: `--depth:${depth}` }, "…")];
    const items = inside.entries.flatMap(([name, leaf, inner]) => {
      const rows = [];
      if (inner) {
        rows.push(item(name, depth, { path: path + name, inner }));
        if (open.has(path + name)) rows.push(...level(path + name, depth + 1));
      }
      if (leaf) rows.push(item(name || "(empty)", depth, { key: path + name }));
      return rows;
    });
    if (inside.more) items.push(h("div", { class: "rx-dim rx-item", style: `--depth:${depth}` }, `and ${count(inside.more)} more: find one above`));
    return items;
  };

  const draw = () => {
    const held = focusedBeside(tree)?.closest?.(".rx-item")?.dataset.name;
    const rows = found ? found.keys.map((key) => item(key, 0, { key })) : level("", 0);
    if (found && found.total > found.keys.length) rows.push(h("div", { class: "rx-dim rx-item" }, `and ${count(found.total - found.keys.length)} more`));
    if (!rows.length) rows.push(h("div", { class: "rx-dim rx-item" }, found ? "Nothing fits" : "No keys"));
    const drawn = new Set(rows);
    for (const one of [...tree.children]) if (!drawn.has(one)) one.remove();
    rows.forEach((one, at) => tree.children[at] !== one && tree.insertBefore(one, tree.children[at] ?? null));
    for (const [id, one] of kept) if (!drawn.has(one)) kept.delete(id);
    const items = [...tree.querySelectorAll("[role=treeitem]")];
    const again = items.find((one) => one.dataset.name === held);
    (again ?? items[0])?.setAttribute("tabindex", 0);
    if (again && focusedBeside(tree) !== again) again.focus({ preventScroll: true });
  };

  tree.addEventListener("keydown", (event) => {
    const items = [...tree.querySelectorAll("[role=treeitem]")];
    const at = items.indexOf(focusedBeside(tree));
    if (at < 0) return;
    const one = items[at];
    const expanded = one.getAttribute("aria-expanded");
    if (event.key === "ArrowDown") items[at + 1]?.focus();
    else if (event.key === "ArrowUp") items[at - 1]?.focus();
    else if (event.key === "Home") items[0].focus();
    else if (event.key === "End") items.at(-1).focus();
    else if (event.key === "ArrowLeft" && expanded !== "true") items.slice(0, at).findLast((other) => other.ariaLevel < one.ariaLevel)?.focus();
    else if (event.key === "ArrowRight" && expanded === "true") items[at + 1]?.ariaLevel > one.ariaLevel && items[at + 1].focus();
    else if (event.key === "Enter" || event.key === " " || (event.key === "ArrowRight" && expanded === "false") || (event.key === "ArrowLeft" && expanded === "true")) one.click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  let timer = 0;
  find.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      found = null;
      if (find.value) life.ask("find", { text: find.value });
      else draw();
    }, 200);
  });

  const drawValue = (said) => {
    keyName.replaceChildren(visible(said.key), said.pending ? h("span", { class: "rx-chip" }, "pending") : "");
    const size = said.bytes ? visible(said.bytes) : said.text === null ? "" : `${count(said.size)} bytes as shown`;
    about.textContent = size ? `${size} · version ${visible(said.version)}` : "There is no such key";
    content.replaceChildren(...(said.text === null ? [] : colored(said.text))); // itself it stays, with the focus
    content.hidden = said.text === null;
  };

  // -- the rest ----------------------------------------------------------------------------------------------

  const log = h("div", { class: "rx-log" });
  const drawLog = () => {
    const rows = model.get("log") ?? [];
    log.replaceChildren(
      ...rows.map((one) => {
        const { letters, hue } = face(one.by || "?");
        return h("div", { class: "rx-logline" },
          h("span", { class: "rx-dim rx-id" }, visible(one.id)),
          h("span", { class: "rx-face rx-small", style: `--hue:${hue}`, "aria-hidden": "true" }, letters),
          h("span", { class: "rx-by" }, visible(one.by)),
          h("span", { class: "rx-dim" }, one.time ? clock(one.time * 1000) : ""),
          h("span", { class: "rx-keys" }, one.reset ? "the state was loaded anew" : "", one.keys.map(([key, gone]) => h(gone ? "del" : "span", { class: "rx-chip rx-plain" }, visible(key))), one.more ? ` and ${count(one.more)} more` : ""));
      }),
      rows.length ? "" : h("div", { class: "rx-dim" }, "Nothing yet"),
    );
  };
  const pending = h("div", { class: "rx-log" });
  const facts = h("dl", { class: "rx-facts" });
  const numbers = h("div", { class: "rx-numbers" });
  const drawFacts = () => {
    numbers.replaceChildren(...(model.get("counts") ?? []).map(([name, number]) => h("div", { class: "rx-number-card" }, h("div", { class: "rx-big" }, count(number)), h("div", { class: "rx-dim" }, name))));
    facts.replaceChildren(...(model.get("facts") ?? []).flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, visible(text))]));
    const waiting = model.get("pending") ?? [];
    pending.replaceChildren(
      ...waiting.map(([version, stage, keys]) => h("div", { class: "rx-logline" }, h("span", { class: "rx-chip" }, stage), h("span", { class: "rx-dim" }, visible(version)), h("span", { class: "rx-keys" }, keys.map((key) => h("span", { class: "rx-chip rx-plain" }, visible(key)))))),
      waiting.length ? "" : h("div", { class: "rx-dim" }, "Nothing waits for its commit"),
    );
    tabs[2].textContent = waiting.length ? `Pending (${waiting.length})` : "Pending";
  };

  const panels = [
    h("div", { class: "rx-split" }, h("div", { class: "rx-side" }, find, tree), value),
    log,
    pending,
    h("div", { class: "rx-status" }, numbers, facts),
  ];
  const tabs = ["Keys", "Log", "Pending", "Status"].map((name, at) => h("button", { class: "rx-tab", type: "button", role: "tab", id: `${life.id}-tab-${at}`, "aria-controls": `${life.id}-panel-${at}`, onclick: () => show(at) }, name));
  const show = (shown) => {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === shown));
      tab.tabIndex = at === shown ? 0 : -1;
      panels[at].hidden = at !== shown;
    });
  };
  const bar = h("div", { class: "rx-tabs", role: "tablist", "aria-label": "What to look at" }, tabs);
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (tabs.indexOf(focusedBeside(bar)) + step + tabs.length) % tabs.length;
    show(next);
    tabs[next].focus();
    event.preventDefault();
    event.stopPropagation();
  });
  panels.forEach((panel, at) => {
    panel.setAttribute("role", "tabpanel");
    panel.id = `${life.id}-panel-${at}`;
    panel.setAttribute("aria-labelledby", `${life.id}-tab-${at}`);
  });
  life.body.append(h("div", { class: "rx-panel rx-inspector" }, bar, ...panels));

  // -- what is heard -----------------------------------------------------------------------------------------

  let again = 0;
  const refresh = () => {
    again = 0;
    for (const path of open) ask(path);
    if (find.value) life.ask("find", { text: find.value });
  };
  const heard = (message) => {
    if (message.kind === "touched") again ||= setTimeout(refresh, 300);
    if (message.view !== life.id) return;
    if (message.kind === "children") {
      known.set(message.path, message);
      draw();
    } else if (message.kind === "find" && message.text === find.value) {
      found = message;
      draw();
    } else if (message.kind === "value" && message.key === chosen) drawValue(message);
  };
  const named = () => {
    title.textContent = visible(model.get("title") || "");
  };
  const offs = [
    model.on("message", heard),
    model.on("log", drawLog),
    ...["facts", "counts", "pending"].map((name) => model.on(name, drawFacts)),
    model.on("total", () => (again ||= setTimeout(refresh, 300))),
    model.on("title", named),
  ];
  named();
  show(0);
  drawLog();
  drawFacts();
  draw();
  ask("");
  return () => {
    clearTimeout(again);
    clearTimeout(timer);
    for (const off of offs) off();
    life.end();
  };
}

const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** JSON text as text nodes and coloured spans. */
function colored(text) {
  if (text.length > 20000) return [visible(text)];
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(TOKEN)) {
    if (found.index > at) parts.push(text.slice(at, found.index));
    const kind = found[1] ? (found[2] ? "name" : "string") : found[3] ? "word" : "digits";
    parts.push(h("span", { class: `rx-${kind}` }, visible(found[1] ?? found[0])), found[2] ?? "");
    at = found.index + found[0].length;
  }
  parts.push(text.slice(at));
  return parts.filter(Boolean);
}
