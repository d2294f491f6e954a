// A table of which the page has only the rows that it shows.

import { h, icon, visible, clock, count, eachFrame, face, focusedBeside } from "./dom.js";
import { frame } from "./heart.js";
import { cellText, cellKind, cellSource, isCut, versionOf } from "./cells.js";

const ROW = 29;
const AHEAD = 30; // rows beyond the edges, so that scrolling finds them there
const WHO = 190; // pixels of the last column
const KEY = "\0key";

/** What all keys begin with, up to the last part of it that is whole. */
const common = (model) => (model.get("prefix") || "").replace(/[^/]*$/, "");

export function render(model, el) {
  const life = frame(model, el, { label: "Table", anew: () => ask(true) });
  const title = h("div", { class: "rx-title" });
  const search = h("input", { class: "rx-input rx-search", type: "search", placeholder: "Search", "aria-label": "Search in all columns" });
  const total = h("span", { class: "rx-dim rx-total" });
  life.head.prepend(title, search, total);

  const head = h("div", { class: "rx-thead", role: "rowgroup" });
  const space = h("div", { class: "rx-space", role: "rowgroup" });
  const scroller = h("div", { class: "rx-scroll" }, head, space);
  const empty = h("div", { class: "rx-empty" });
  const grid = h("div", { class: "rx-table rx-panel", role: "grid", tabindex: "0", "aria-multiselectable": "true", "aria-label": "Rows" }, scroller, empty);
  const said = h("div", { class: "rx-away", "aria-live": "polite" });
  life.body.append(grid, said);

  const asked = { sort: KEY, down: false, search: "", filters: {} };
  let keys = []; // of the window
  let start = 0;
  let length = 0;
  let rows = new Map(); // what is known of the window's rows
  let needed = []; // the widest that each column was, in pixels
  let columns = [];
  let shown = new Map(); // key → element
  let focus = { row: 0, column: 0 };
  let ordered = false; // anew, by the user: then the focus stays at its place, else it goes with its key
  let anchor = null;
  let editing = null;
  let lifted = false; // the field that is typed into goes from one row's element to another
  const sent = new Map(); // what was typed into cells and has no answer yet
  const typedAt = (key, column) => `${column}\n${key}`;
  let wanted = "";
  let selected = new Set(model.get("selected") ?? []);

  // -- asking ------------------------------------------------------------------------------------------------

  const ask = (anew = false) => {
    const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - AHEAD);
    const visibleRows = Math.ceil(scroller.clientHeight / ROW);
    const request = { ...asked, filters: { ...asked.filters }, start: first, count: visibleRows + 2 * AHEAD };
    const text = JSON.stringify(request);
    if (text === wanted && !anew) return;
    wanted = text;
    life.ask("rows", anew ? { ...request, anew: true } : request);
  };

  const scrolled = eachFrame(() => {
    const first = Math.floor(scroller.scrollTop / ROW);
    const last = first + Math.ceil(scroller.clientHeight / ROW);
    const near = first - start < AHEAD / 3 && start > 0;
    if (near || (last + AHEAD / 3 > start + keys.length && start + keys.length < length)) ask();
    head.classList.toggle("rx-lifted", scroller.scrollTop > 0);
    draw();
  });

  // -- drawing -----------------------------------------------------------------------------------------------

  const signed = () => Boolean(model.get("signed")); // whether it is known who wrote what
  const whoWidth = () => (signed() ? WHO : 0);
  const measure = () => {
    columns = [[KEY, false], ...(model.get("columns") ?? [])];
    const prefix = common(model);
    const longest = columns.map(([name]) => (name === KEY ? Math.max(visible(prefix).length + 3, 5) : visible(name).length + 2));
    for (const key of keys.slice(0, 100)) {
      longest[0] = Math.max(longest[0], visible(key).length - prefix.length + 2);
      const cells = rows.get(key)?.[0] ?? {};
      columns.forEach(([name], at) => {
        if (at && name in cells) longest[at] = Math.max(longest[at], cellText(cells[name]).length);
      });
    }
    const most = (at) => (at ? 320 : Math.min(320, Math.max(scroller.clientWidth * 0.45, 90))); // keys stay while the rest is scrolled
    const widest = columns.length === needed.length ? needed : [];
    needed = longest.map((letters, at) => Math.min(Math.max(letters * 7.6 + 26, 70, widest[at] ?? 0), most(at)));
    const sum = needed.reduce((all, width) => all + width, whoWidth());
    const more = Math.min(Math.max((scroller.clientWidth - sum) / (columns.length + 1), 0), 60);
    const widths = needed.map((width) => `${Math.round(width + more)}px`);
    grid.style.setProperty("--rx-columns", `${widths.join(" ")} minmax(${whoWidth()}px, 1fr)`);
    grid.style.setProperty("--rx-width", `${Math.round(sum)}px`);
  };

  const drawHead = () => {
    const prefix = common(model);
    const titles = columns.map(([name, numbers], at) => {
      const sorted = asked.sort === name ? (asked.down ? "descending" : "ascending") : "none";
      const text = name === KEY ? (prefix ? visible(prefix) + "…" : "key") : visible(name);
      const button = h("button", { class: "rx-sort", title: `Sort by ${text}`, onclick: () => sortBy(name) }, text, h("span", { class: "rx-arrow", "aria-hidden": "true" }, sorted === "none" ? "" : asked.down ? "↓" : "↑"));
      return h("div", { class: `rx-th${numbers ? " rx-number" : ""}${at ? "" : " rx-key"}`, role: "columnheader", "aria-sort": sorted, "aria-colindex": at + 1 }, button);
    });
    const filters = columns.map(([name], at) => {
      const input = h("input", { class: "rx-filter", value: asked.filters[name] ?? "", placeholder: "filter", "aria-label": `Filter ${name === KEY ? "keys" : visible(name)}`, title: "Part of the text, or >3, <=3, =a, !=a" });
      input.addEventListener("input", () => {
        asked.filters[name] = input.value;
        later(narrowed);
      });
      return h("div", { class: at ? "rx-th" : "rx-th rx-key" }, input);
    });
    const written = h("div", { class: "rx-th rx-dim", role: "columnheader", "aria-colindex": columns.length + 1, hidden: !signed() }, "written by");
    const typing = focusedBeside(head);
    const focused = [...head.querySelectorAll(".rx-sort, .rx-filter")].indexOf(typing);
    const caret = typing?.selectionStart;
    head.replaceChildren(
      h("div", { class: "rx-tr rx-titles", role: "row", "aria-rowindex": 1 }, titles, written),
      h("div", { class: "rx-tr rx-filters", role: "presentation" }, filters, h("div", { class: "rx-th" })),
    );
    if (focused >= 0) {
      const again = head.querySelectorAll(".rx-sort, .rx-filter")[focused];
      again?.focus({ preventScroll: true });
      if (caret !== undefined) again?.setSelectionRange?.(caret, caret);
    }
    grid.setAttribute("aria-colcount", columns.length + signed());
  };

  const rowOf = (key) => {
    const cells = columns.map((_, at) => h("div", { class: "rx-td", role: at ? "gridcell" : "rowheader", "aria-colindex": at + 1 }));
    const who = h("div", { class: "rx-td rx-who", role: "gridcell", "aria-colindex": columns.length + 1, hidden: !signed() });
    const element = h("div", { class: "rx-tr", role: "row" }, cells, who);
    const row = { element, cells, who, key, texts: [], known: null };
    space.append(element);
    if (editing?.key === key) moveEdit(row);
    return row;
  };

  /** Others change the table while somebody types: the field goes on in the row's new element. */
  const moveEdit = (row) => {
    const index = columns.findIndex(([name]) => name === editing.column);
    if (index < 0) return;
    const { input } = editing;
    const [from, to] = [input.selectionStart, input.selectionEnd];
    lifted = true;
    row.cells[index].replaceChildren(input);
    input.focus({ preventScroll: true });
    input.setSelectionRange(from, to);
    lifted = false;
    Object.assign(editing, { row, cell: row.cells[index], index });
  };

  const fill = (row, flash) => {
    const known = rows.get(row.key);
    const prefix = common(model);
    row.element.classList.toggle("rx-empty-row", !known);
    const [values, by, at, pending] = known ?? [{}, "", 0, false];
    columns.forEach(([name, numbers], index) => {
      const cell = row.cells[index];
      const value = index ? values[name] : row.key;
      const typed = index && sent.size ? sent.get(typedAt(row.key, name)) : undefined;
      const text = typed !== undefined ? visible(typed) : index ? cellText(value) : visible(row.key.startsWith(prefix) ? row.key.slice(prefix.length) || row.key : row.key);
      if (row.texts[index] === text) return;
      const flashed = flash && row.texts[index] !== undefined && index;
      row.texts[index] = text;
      if (editing?.key === row.key && editing.column === name) return;
      cell.textContent = text;
      cell.title = index && versionOf(value) ? "Double-click or Enter: download it" : text.length > 30 ? text : typeof value === "number" && text !== String(value) ? String(value) : "";
      const right = numbers && !["string", "boolean"].includes(typeof value);
      cell.className = `rx-td rx-${index ? cellKind(value) : "key"}${versionOf(value) && index ? " rx-absent" : ""}${right ? " rx-number" : ""}${typed !== undefined ? " rx-sent" : ""}`;
      if (flashed) flashCell(cell);
    });
    row.element.classList.toggle("rx-unsent", Boolean(pending));
    const mark = JSON.stringify([by, at, pending]);
    if (row.mark !== mark) {
      row.mark = mark;
      const parts = [];
      if (pending) parts.push(h("span", { class: "rx-chip" }, "pending"));
      if (by) {
        const { letters, hue } = face(by);
        parts.push(h("span", { class: "rx-face rx-small", style: `--hue:${hue}`, "aria-hidden": "true" }, letters), h("span", { class: "rx-by" }, visible(by)));
      }
      if (at) parts.push(h("span", { class: "rx-dim" }, clock(at * 1000)));
      row.who.replaceChildren(...parts);
    }
  };

  const flashCell = (cell) => {
    cell.classList.remove("rx-flash");
    requestAnimationFrame(() => cell.classList.add("rx-flash"));
  };

  const draw = () => {
    space.style.height = `${length * ROW}px`;
    const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - 4);
    const last = Math.min(length, Math.ceil((scroller.scrollTop + scroller.clientHeight) / ROW) + 4);
    const next = new Map();
    for (let at = first; at < last; at++) {
      const key = keys[at - start];
      const name = key ?? `\0${at}`;
      let row = shown.get(name);
      if (row === undefined || row.cells.length !== columns.length) {
        const old = row;
        row = rowOf(key ?? "");
        old?.element.remove();
      }
      next.set(name, row);
      if (row.at !== at) {
        row.at = at;
        row.element.style.transform = `translateY(${at * ROW}px)`;
        row.element.setAttribute("aria-rowindex", at + 2);
        row.element.id = `${life.id}-${at}`;
      }
      const known = key === undefined ? undefined : rows.get(key);
      if (row.known !== known || known === undefined) fill(row, row.known);
      row.known = known;
      const chosen = key !== undefined && selected.has(key);
      row.element.classList.toggle("rx-chosen", chosen);
      row.element.setAttribute("aria-selected", chosen);
    }
    if (editing && !next.has(editing.key)) next.set(editing.key, editing.row); // scrolled or sorted away, or deleted: until it is ended
    for (const [name, row] of shown) if (next.get(name) !== row) row.element.remove();
    shown = next;
    drawFocus();
    const searching = asked.search || Object.values(asked.filters).some(Boolean);
    empty.textContent = length ? "" : !model.get("loaded") ? "Nothing yet" : searching ? "Nothing fits" : "No rows";
    empty.hidden = length > 0;
    grid.setAttribute("aria-rowcount", length + 1);
    const all = model.get("rows") ?? 0;
    total.textContent = searching ? `${count(length)} of ${count(all)}` : `${count(all)} ${all === 1 ? "row" : "rows"}`;
  };

  const drawFocus = () => {
    for (const one of space.querySelectorAll(".rx-focus")) one.classList.remove("rx-focus");
    const row = [...shown.values()].find((one) => one.at === focus.row);
    const cell = row && [...row.cells, row.who][focus.column];
    grid.removeAttribute("aria-activedescendant");
    if (cell && focusedBeside(grid) === grid) {
      cell.classList.add("rx-focus");
      cell.id = `${life.id}-${focus.row}-${focus.column}`;
      grid.setAttribute("aria-activedescendant", cell.id);
    }
  };

  const layout = () => {
    measure();
    drawHead();
    const old = [...shown.values()];
    shown = new Map();
    scroller.style.setProperty("--rx-length", length);
    draw();
    for (const row of old) if (shown.get(row.key) !== row) row.element.remove();
  };

  const later = (() => {
    let timer;
    return (action) => {
      clearTimeout(timer);
      timer = setTimeout(action, 200);
    };
  })();

  // -- what a user does --------------------------------------------------------------------------------------

  const sortBy = (name) => {
    asked.down = asked.sort === name ? !asked.down : false;
    asked.sort = name;
    drawHead();
    ordered = true;
    said.textContent = `Sorted by ${name === KEY ? "key" : name}, ${asked.down ? "largest" : "smallest"} first`;
    ask();
  };
  const narrowed = () => {
    ordered = true;
    scroller.scrollTop = 0;
    ask();
  };
  search.addEventListener("input", () => {
    asked.search = search.value;
    later(narrowed);
  });

  const select = (which = { keys: [...selected] }) => {
    draw();
    life.act("select", which, {
      failed(reason) {
        selected = new Set(model.get("selected") ?? []);
        update();
        life.say(`Not selected: ${reason}`);
      },
    });
  };
  /** Rows of which this page may not have all. */
  const selectRange = (from, to) => {
    const all = from >= start && to < start + keys.length;
    if (all) selected = new Set(keys.slice(from - start, to - start + 1));
    select(all ? undefined : { from, to });
  };
  const choose = (at, { toggle = false, range = false }) => {
    const key = keys[at - start];
    if (range && anchor !== null) return selectRange(Math.min(anchor, at), Math.max(anchor, at));
    if (key === undefined) return;
    const only = selected.size === 1 && selected.has(key);
    if (!toggle) selected = new Set(only ? [] : [key]);
    else if (!selected.delete(key)) selected.add(key);
    anchor = at;
    select();
  };

  const place = (target) => {
    const cell = target.closest(".rx-td");
    const row = [...shown.values()].find((one) => one.element === cell?.parentElement);
    return row ? { row: row.at, column: [...row.cells, row.who].indexOf(cell), key: row.key } : null;
  };

  space.addEventListener("click", (event) => {
    const at = place(event.target);
    if (!at || event.target.closest("input")) return;
    focus = { row: at.row, column: at.column };
    grid.focus({ preventScroll: true });
    choose(at.row, { toggle: event.ctrlKey || event.metaKey, range: event.shiftKey });
  });
  space.addEventListener("dblclick", (event) => {
    const at = place(event.target);
    if (at) edit(at);
  });
  grid.addEventListener("focus", drawFocus);
  grid.addEventListener("blur", drawFocus);

  const reveal = () => {
    const top = focus.row * ROW;
    const room = scroller.clientHeight - head.offsetHeight;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + ROW > scroller.scrollTop + room) scroller.scrollTop = top + ROW - room;
    draw();
    const row = [...shown.values()].find((one) => one.at === focus.row);
    if (!row || !focus.column) return; // the keys are always in sight
    const cell = [...row.cells, row.who][focus.column];
    const left = cell.offsetLeft - row.cells[0].offsetWidth;
    if (left < scroller.scrollLeft) scroller.scrollLeft = left;
    else scroller.scrollLeft = Math.max(scroller.scrollLeft, Math.min(left, cell.offsetLeft + cell.offsetWidth - scroller.clientWidth));
  };

  grid.addEventListener("keydown", (event) => {
    if (event.target !== grid) return;
    const page = Math.max(1, Math.floor((scroller.clientHeight - head.offsetHeight) / ROW) - 1);
    const moves = {
      ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageDown: [page, 0], PageUp: [-page, 0],
      Home: event.ctrlKey ? [-length, 0] : [0, -columns.length], End: event.ctrlKey ? [length, 0] : [0, columns.length - 1 - focus.column],
    };
    const move = moves[event.key];
    if (move) {
      focus.row = Math.min(Math.max(focus.row + move[0], 0), Math.max(0, length - 1));
      focus.column = Math.min(Math.max(focus.column + move[1], 0), columns.length - !signed());
      if (event.shiftKey && move[0]) choose(focus.row, { range: true });
      reveal();
    } else if (event.key === "Enter" || event.key === "F2") {
      edit({ ...focus, key: keys[focus.row - start] });
    } else if (event.key === " ") {
      choose(focus.row, { toggle: true });
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey) && length) {
      selectRange(0, length - 1);
    } else if (event.key === "Escape" && selected.size) {
      selected = new Set();
      select();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const edit = ({ row: at, column, key }) => {
    const row = [...shown.values()].find((one) => one.at === at);
    const name = columns[column]?.[0];
    if (!row || !column || name === undefined || !rows.has(key)) return;
    const value = rows.get(key)[0][name];
    const version = versionOf(value);
    if (version) {
      row.cells[column].textContent = "reading…";
      row.texts[column] = undefined;
      said.textContent = `Reading ${value[0]}`;
      return life.act("look", { key, version });
    }
    if (!model.get("editable")) return;
    if (isCut(value)) {
      said.textContent = "This is too long to be edited here";
      return;
    }
    finish(false);
    const cell = row.cells[column];
    const input = h("input", { class: "rx-edit", value: cellSource(value), "aria-label": `${visible(name)} of ${visible(key)}` });
    editing = { key, column: name, input, cell, row, index: column, before: cellSource(value) };
    cell.replaceChildren(input);
    cell.classList.remove("rx-refused", "rx-flash");
    input.focus();
    input.select();
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") finish(true);
      else if (event.key === "Escape") finish(false);
      else if (event.key === "Tab") finish(true);
      else {
        event.stopPropagation();
        return;
      }
      event.stopPropagation();
      event.preventDefault();
      grid.focus({ preventScroll: true });
    });
    input.addEventListener("blur", () => lifted || finish(true));
  };

  const finish = (keep) => {
    if (!editing) return;
    const { key, column, input, row, index, before } = editing;
    editing = null;
    const text = input.value;
    if (keep && text !== before) sent.set(typedAt(key, column), text);
    row.texts[index] = undefined;
    fill(row, false);
    update();
    if (!keep || text === before) return;
    life.act("edit", { key, column, text }, {
      done: () => setTimeout(() => sent.get(typedAt(key, column)) === text && answered(key, column), 300), // the row is on its way
      failed: (reason) => refused(key, column, reason),
    });
  };

  // -- what is heard -----------------------------------------------------------------------------------------

  /** What was typed into a cell has an answer: its value is shown again. Returns the cell, if it is shown. */
  const answered = (key, column) => {
    const row = shown.get(key);
    const index = columns.findIndex(([name]) => name === column);
    if (sent.delete(typedAt(key, column)) && row?.cells[index]) {
      row.texts[index] = undefined;
      fill(row, false);
      drawFocus();
    }
    return row?.cells[index];
  };
  const refused = (key, column, why) => {
    const cell = answered(key, column);
    const reason = visible(why);
    if (cell) {
      cell.classList.remove("rx-flash");
      cell.classList.add("rx-refused");
      cell.title = reason;
      setTimeout(() => cell.classList.remove("rx-refused"), 4000);
    }
    said.textContent = `Not written: ${reason}`;
    const bubble = h("div", { class: "rx-bubble", role: "alert" }, `Not written: ${reason}`);
    grid.append(bubble);
    setTimeout(() => bubble.remove(), 5000);
  };
  const heard = (message) => {
    if (message.view !== life.id) return;
    if (message.kind === "refused" && message.key !== undefined) refused(message.key, message.column, message.reason);
    if (message.kind !== "rows") return;
    const grown = keys.length === 0 || (message.total !== length && Math.min(message.total, length) < 14);
    length = message.total;
    if (message.keys) {
      const held = ordered ? undefined : keys[focus.row - start];
      ordered = false;
      keys = message.keys;
      start = message.start;
      const at = held === undefined ? -1 : keys.indexOf(held);
      if (at >= 0) focus.row = start + at;
      const kept = new Map();
      for (const key of keys) if (rows.has(key)) kept.set(key, rows.get(key));
      rows = kept;
    }
    for (const [key, row] of Object.entries(message.changed)) rows.set(key, row);
    if (keys.some((key) => !rows.has(key))) ask(true);
    if (grown) layout();
    else update();
  };
  const update = eachFrame(draw);

  const named = () => {
    title.textContent = visible(model.get("title") || "");
  };
  const offs = [
    model.on("message", heard),
    model.on("columns", layout),
    model.on("signed", layout),
    model.on("rows", update),
    model.on("loaded", update),
    model.on("title", named),
    model.on("selected", (now) => {
      selected = new Set(now);
      update();
    }),
  ];
  scroller.addEventListener("scroll", scrolled, { passive: true });
  const sized = new ResizeObserver(() => {
    if (!scroller.clientWidth) return;
    measure();
    ask();
    draw();
  });
  sized.observe(scroller);
  named();
  layout();
  return () => {
    for (const off of offs) off();
    sized.disconnect();
    scrolled.cancel();
    update.cancel();
    life.end();
  };
}
