// A view says that it is looked at, hears whether anybody answers, and shows that in a badge.

import { h, ago, visible } from "./dom.js";

const EVERY = 4000;
const SILENT = 10000;
const GONE = 45000;
const AGAIN = 30000;

/**
 * Put a view's frame into an element: its body, its badge, and its life.
 *
 * Returns { id, body, head, ask, news, end }: `ask` sends a message that names this view, `news` notes that the value
 * changed now or at a given time, `end` stops everything. `model.alive`, where a carrier has it, says "dead" when it knows.
 */
export function frame(model, el, { label, age = false } = {}) {
  const id = Array.from({ length: 4 }, () => Math.random().toString(36).slice(2, 6)).join("");
  const badge = h("div", { class: "rx-badge", role: "status" });
  const problem = h("div", { class: "rx-problem", role: "alert", hidden: true });
  const head = h("div", { class: "rx-head" }, badge);
  const body = h("div", { class: "rx-body" });
  const root = h("div", { class: "rxmps3", role: "region", "aria-label": label }, head, body, problem);
  // JupyterLab takes keys for itself, "d d" deletes the cell, unless the very element that has the focus says no.
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
  el.replaceChildren(root);

  let asked = 0; // when the oldest "here" without an answer was sent
  let sent = 0; // when the newest was
  let newsAt = 0;
  let timer = 0;
  const ask = (kind, more) => model.send({ kind, view: id, ...more });

  const here = () => {
    if (document.hidden || !root.isConnected) return;
    if (asked && Date.now() - sent < AGAIN) return; // a kernel that is busy gets to it; more would only pile up
    asked ||= Date.now();
    sent = Date.now();
    ask("here");
  };

  const draw = () => {
    const [kind, text, title] = state();
    const old = newsAt && age && kind !== "gone" ? (Date.now() - newsAt) / 1000 : 0;
    const shown = old >= 5 ? `${text} · ${ago(old)} old` : text;
    if (badge.textContent !== shown) badge.textContent = shown;
    badge.className = `rx-badge rx-${kind}`;
    badge.title = title ?? "";
    root.classList.toggle("rx-stale", kind === "gone");
    const trouble = visible(model.get("problem") || "");
    problem.hidden = !trouble;
    problem.textContent = trouble;
  };

  const state = () => {
    const silent = asked ? Date.now() - asked : 0;
    if (model.alive?.() === "dead" || silent > GONE) {
      return ["gone", "kernel gone", "Nobody answers: what you see is the last that was heard"];
    }
    if (silent > SILENT) return ["waiting", "no answer", "The kernel is busy, or it is gone"];
    const status = model.get("status");
    if (status?.closed) return ["gone", "closed", "The database is closed"];
    if (model.get("ended")) return ["gone", "ended", "The source has ended"];
    if (status?.online === false) return ["offline", "offline", visible(status.trouble ?? "the bucket is out of reach")];
    if (status?.pending) return ["pending", `${status.pending} pending`, "Written here and not yet committed"];
    return ["live", "live", ""];
  };

  const offs = [
    model.on("message", (message) => {
      if (message?.kind === "alive" && message.view === id) {
        asked = 0;
        draw();
      }
    }),
    model.on("status", draw),
    model.on("problem", draw),
    model.on("ended", draw),
  ];
  const shown = () => {
    if (!document.hidden) {
      asked = 0;
      here();
    }
  };
  document.addEventListener("visibilitychange", shown);
  let beat = 0;
  timer = setInterval(() => {
    beat += 1000;
    if (beat >= EVERY) {
      beat = 0;
      here();
    }
    if (!document.hidden) draw();
  }, 1000);
  requestAnimationFrame(here);
  draw();

  return {
    id,
    head,
    body,
    root,
    badge,
    ask,
    news(at = Date.now()) {
      newsAt = at;
      draw();
    },
    end() {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", shown);
      for (const off of offs) off();
      ask("bye");
    },
  };
}
