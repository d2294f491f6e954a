// A view says that it is looked at, hears whether anybody answers, and shows that in a badge.

import { h, ago, matchPage, tell, visible } from "./dom.js";

const EVERY = 4000;
const SILENT = 10000;
const GONE = 45000;
const AGAIN = 30000; // at most, between two questions of which the first has no answer
const CUT = 5000; // so long without a connection, and what was sent before may have been lost
const NOTICE = 6000;

/**
 * Put a view's frame into an element: its body, its badge, and its life.
 *
 * Returns { id, body, head, ask, act, say, news, end }: `ask` sends a message that names this view, `act` one of which the
 * user has to know whether it was heard, `say` shows a sentence for some seconds, `news` notes that the value changed now
 * or at a given time, `end` stops everything.
 * `model.alive`, where a carrier has it, says "dead" when it knows; its state "connected" is told when it is again.
 * `model.server` is what to call who answers, if it is no kernel.
 *
 * Messages get lost, either way: while a page is hidden, a socket is down, a kernel drops them. Both sides number theirs;
 * `anew` is called when some are missing, and asks for everything that the view shows, but for states: they come by themselves.
 */
export function frame(model, el, { label, age = false, anew } = {}) {
  const id = Array.from({ length: 4 }, () => Math.random().toString(36).slice(2, 6)).join("");
  const badge = h("div", { class: "rx-badge" }); // it changes too often to be read out: what matters of it is
  const told = h("div", { class: "rx-away", role: "status" });
  const problem = h("div", { class: "rx-problem", role: "alert", hidden: true });
  const head = h("div", { class: "rx-head" }, badge);
  const body = h("div", { class: "rx-body" });
  const root = h("div", { class: "rxmps3", role: "region", "aria-label": label }, head, body, problem, told);
  // JupyterLab takes keys for itself, "d d" deletes the cell, unless the very element that has the focus says no.
  // What saves the notebook and the like stays JupyterLab's: a view needs no letter with Ctrl, but for editing.
  const isTheirs = ({ ctrlKey, metaKey, key }) => (ctrlKey || metaKey) && /^[bd-uw]$/i.test(key);
  const beforeTheirs = (event) => root.contains(event.target) && event.target.toggleAttribute("data-lm-suppress-shortcuts", !isTheirs(event));
  addEventListener("keydown", beforeTheirs, true);
  el.replaceChildren(root);
  matchPage(root);

  let asked = 0; // when the oldest "here" without an answer was sent
  let sent = 0; // when the newest was
  let newsAt = 0;
  let timer = 0;
  let wait = 1000; // until an unanswered "here" is sent again
  let number = 0; // of the last message sent
  let own = 0; // messages for this view alone that came
  let all = null; // messages for every view that came; null before the first answer
  const acts = new Map(); // number → what to call when it was done or was not
  let cutAt = 0; // since when the connection is known to be gone
  let wasCalm = true;
  let notice = "";
  let noticeTimer = 0;
  let looking = 0;
  const ask = (kind, more) => model.send({ kind, view: id, number: ++number, ...more });
  const say = (text) => {
    notice = visible(text);
    clearTimeout(noticeTimer);
    noticeTimer = setTimeout(() => {
      notice = "";
      draw();
    }, NOTICE);
    draw();
  };
  const server = model.server ?? "kernel";
  const dead = () => model.alive?.() === "dead";
  /** Send what a user did. `failed` gets the reason if it was refused or lost; `done` is called if it was heard. */
  const act = (kind, more, { done = () => {}, failed = (reason) => say(`Not done: ${reason}`) } = {}) => {
    if (dead()) failed("nobody answers");
    else {
      ask(kind, { ...more, act: true });
      acts.set(number, { done, failed });
    }
  };
  const settle = (at, reason) => {
    const one = acts.get(at);
    acts.delete(at);
    if (reason === undefined) one?.done();
    else one?.failed(reason);
  };

  const here = () => {
    if (document.hidden || !root.isConnected) return;
    if (asked) {
      if (Date.now() - sent < wait) return; // a kernel that is busy gets to it; more would only pile up
      wait = Math.min(2 * wait, AGAIN);
    } else wait = 1000;
    asked ||= Date.now();
    sent = Date.now();
    ask("here");
  };

  const draw = () => {
    const [kind, text, title] = state();
    const old = newsAt && age && kind !== "gone" ? (Date.now() - newsAt) / 1000 : 0;
    const shown = old >= 5 ? `${text} · ${ago(old)} old` : text;
    tell(badge, shown);
    const calm = kind === "live" || kind === "pending";
    if (calm !== wasCalm || (!calm && told.textContent !== text)) told.textContent = calm ? (told.textContent && "live again") : text;
    wasCalm = calm;
    badge.className = `rx-badge rx-${kind}`;
    badge.title = title ?? "";
    root.classList.toggle("rx-stale", kind === "gone");
    const name = [label, visible(model.get("title") || "")].filter(Boolean).join(": ");
    if (root.getAttribute("aria-label") !== name) root.setAttribute("aria-label", name);
    const trouble = notice || visible(model.get("problem") || (kind === "offline" && title) || "");
    if (acts.size && dead()) {
      cutAt ||= Date.now();
      if (Date.now() - cutAt > CUT) for (const at of [...acts.keys()]) settle(at, "the connection broke, look whether it is there");
    } else cutAt = 0;
    problem.hidden = !trouble;
    tell(problem, trouble);
  };

  const state = () => {
    const silent = asked ? Date.now() - asked : 0;
    if (dead() || silent > GONE) {
      return ["gone", `${server} gone`, "Nobody answers: what you see is the last that was heard"];
    }
    if (silent > SILENT) return ["waiting", "no answer", `The ${server} is busy, or it is gone`];
    const status = model.get("status");
    if (status?.closed) return ["gone", "closed", "The database is closed"];
    if (model.get("ended")) return ["gone", "ended", "The source has ended"];
    if (status?.stopped) return ["gone", "stopped", "What you see stays as it is: the view was disposed, or its cell has run again"];
    if (status?.online === false) return ["offline", "offline", visible(status.trouble ?? "the bucket is out of reach")];
    if (status?.pending) return ["pending", `${status.pending} pending`, "Written here and not yet committed"];
    return ["live", "live", ""];
  };

  const offs = [
    model.on("message", (message) => {
      if (message.view === undefined) {
        if (all !== null) all += 1;
      } else if (message.view !== id) return;
      else if (message.kind !== "alive") {
        own += 1;
        if (message.kind === "done") settle(message.number);
        else if (message.kind === "refused" && acts.has(message.number)) settle(message.number, message.reason);
        else if (message.kind === "refused" && message.key === undefined) say(message.reason);
      } else {
        asked = 0;
        const missing = message.missed || message.own !== own || (all !== null && message.all !== all);
        ({ own, all } = message);
        for (const at of [...acts.keys()]) if (at < message.number) settle(at, message.missed ? "it may be lost on the way, look whether it is there" : undefined);
        clearTimeout(looking);
        looking = setTimeout(() => message.revision > (model.get("revision") ?? 0) && ask("states"), 500); // some come late
        if (missing) anew?.();
        draw();
      }
    }),
    model.on("connected", (now) => {
      if (!now) return draw();
      asked = 0;
      here();
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
  const leaving = () => ask("bye");
  addEventListener("pagehide", leaving);
  let beat = 0;
  let attached = root.isConnected;
  timer = setInterval(() => {
    beat += 1000;
    if (root.isConnected && !attached) shown(); // a notebook takes cells out of the page that are scrolled away
    attached = root.isConnected;
    if (asked || beat >= EVERY) {
      beat = 0;
      here();
    }
    if (!document.hidden) {
      matchPage(root);
      draw();
    }
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
    act,
    say,
    news(at = Date.now()) {
      newsAt = at;
      draw();
    },
    end() {
      clearInterval(timer);
      clearTimeout(noticeTimer);
      clearTimeout(looking);
      removeEventListener("pagehide", leaving);
      removeEventListener("keydown", beforeTheirs, true);
      document.removeEventListener("visibilitychange", shown);
      for (const off of offs) off();
      ask("bye");
    },
  };
}
