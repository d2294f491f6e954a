// A prefix of a database in a web page: its values as they change and, by a websocket, writes.
//
//   import { connect } from "/rxmps3.js";
//   const todo = connect("ws://…/ws");                 // or events("/todo") to read only
//   todo.subscribe((values) => draw(values));          // a Map of keys and values, now and at each change
//   await todo.put({ "todo/1": { title: "milk" } });   // the version, once it is committed

// A server that is there says something every 15 seconds; one that says nothing for 45 is connected to anew: a computer
// that was asleep, or changed its network, may never learn that its connection is broken.

/** @typedef {{ value?: unknown }} Change  A value, or {} for a deleted key. */

/** @typedef {(values: Map<string, unknown>, changed: string[]) => void} Listener */

const AGAIN = 1000;
const SILENT = 45000;

class Store {
  /** @type {Map<string, unknown>} */
  values = new Map();
  /** @type {Set<Listener>} */
  #listeners = new Set();
  #loaded = false;
  connected = false; // whether the server is connected

  /** @param {Listener} listener  @returns {() => void} ends it */
  subscribe(listener) {
    this.#listeners.add(listener);
    if (this.#loaded) this.#tell(listener, [...this.values.keys()]);
    return () => this.#listeners.delete(listener);
  }

  /** @param {"content" | "change"} event  @param {Record<string, any>} data */
  heard(event, data) {
    const before = event === "content" ? [...this.values.keys()] : [];
    if (event === "content") this.values = new Map(Object.entries(data));
    for (const [key, change] of event === "change" ? Object.entries(data) : []) {
      if ("value" in change) this.values.set(key, change.value);
      else this.values.delete(key);
    }
    const changed = [...new Set([...before, ...Object.keys(data)])];
    this.#loaded = true;
    for (const listener of [...this.#listeners]) this.#tell(listener, changed);
  }

  #tell(listener, changed) { // one that throws keeps nothing from the others
    try { listener(this.values, changed); } catch (error) { console.error(error); }
  }
}

/**
 * Open a connection now, again a second after `lost`, and again when `heard` was not called for too long.
 * @param {() => () => void} open  opens it and returns what closes it
 */
function kept(open) {
  let close, timer;
  const later = (ms) => {
    clearTimeout(timer);
    timer = setTimeout(begin, ms);
  };
  const begin = () => {
    close?.();
    later(SILENT);
    close = open();
  };
  begin();
  return { heard: () => later(SILENT), lost: () => later(AGAIN), end: () => (clearTimeout(timer), close?.()) };
}

/** Values by server-sent events, which connects again by itself.  @param {string} url */
export function events(url) {
  const store = new Store();
  const life = kept(() => {
    const source = new EventSource(url);
    for (const event of ["content", "change", "quiet"]) {
      source.addEventListener(event, ({ data }) => {
        life.heard();
        if (event !== "quiet") store.heard(event, JSON.parse(data));
      });
    }
    source.onopen = () => (store.connected = true);
    source.onerror = () => {
      store.connected = false;
      if (source.readyState === EventSource.CLOSED) life.lost(); // as for an answer that is an error; else the browser does it
    };
    return () => source.close();
  });
  return Object.assign(store, { close: life.end });
}

/** Values and writes by a websocket, which connects again by itself.  @param {string} url */
export function connect(url) {
  const store = new Store();
  const waiting = new Map();
  let socket, asked = 0;
  const gone = () => {
    store.connected = false;
    for (const [, rejected] of waiting.values()) rejected(new Error("the connection broke: the write may have been made"));
    waiting.clear();
  };
  const life = kept(() => {
    const here = (socket = new WebSocket(url));
    here.onopen = () => (store.connected = true);
    here.onmessage = ({ data }) => {
      life.heard();
      const said = JSON.parse(data);
      if (said.event === "content" || said.event === "change") return store.heard(said.event, said.data);
      const [committed, rejected] = waiting.get(said.ask) ?? [];
      waiting.delete(said.ask);
      if (said.event === "committed") committed?.(said.version);
      else rejected?.(new Error(said.error));
    };
    here.onclose = () => {
      gone();
      life.lost();
    };
    return () => {
      here.onmessage = here.onclose = null; // which may come late, where nobody answers
      here.close();
      gone();
    };
  });
  const write = (what) => new Promise((committed, rejected) => {
    if (socket?.readyState !== WebSocket.OPEN) return rejected(new Error("not connected"));
    waiting.set(++asked, [committed, rejected]);
    socket.send(JSON.stringify({ ...what, ask: asked }));
  });
  return Object.assign(store, {
    /** @param {Record<string, unknown>} values  @param {string[]} [deleted]  @returns {Promise<string>} */
    put: (values, deleted = []) => write({ put: values, delete: deleted }),
    /** @param {...string} keys  @returns {Promise<string>} */
    delete: (...keys) => write({ delete: keys }),
    close: life.end,
  });
}
