// A prefix of a database in a web page: its values as they change and, by a websocket, writes.
//
//   import { connect } from "/rxmps3.js";
//   const todo = connect("ws://…/ws");                 // or events("/todo") to read only
//   todo.subscribe((values) => draw(values));          // a Map of keys and values, now and at each change
//   await todo.put({ "todo/1": { title: "milk" } });   // the version, once it is committed

/** @typedef {{ value?: unknown }} Change  A value, or {} for a deleted key. */

/** @typedef {(values: Map<string, unknown>, changed: string[]) => void} Listener */

class Store {
  /** @type {Map<string, unknown>} */
  values = new Map();
  /** @type {Set<Listener>} */
  #listeners = new Set();
  /** Whether the server is connected. */
  connected = false;

  /** @param {Listener} listener  @returns {() => void} ends it */
  subscribe(listener) {
    this.#listeners.add(listener);
    if (this.values.size) listener(this.values, [...this.values.keys()]);
    return () => this.#listeners.delete(listener);
  }

  /** @param {"content" | "change"} event  @param {Record<string, any>} data */
  heard(event, data) {
    if (event === "content") this.values = new Map(Object.entries(data));
    for (const [key, change] of event === "change" ? Object.entries(data) : []) {
      if ("value" in change) this.values.set(key, change.value);
      else this.values.delete(key);
    }
    for (const listener of this.#listeners) listener(this.values, Object.keys(data));
  }
}

/** Values by server-sent events; the browser connects again by itself.  @param {string} url */
export function events(url) {
  const store = new Store();
  const source = new EventSource(url);
  for (const event of /** @type {const} */ (["content", "change"])) {
    source.addEventListener(event, ({ data }) => store.heard(event, JSON.parse(data)));
  }
  source.onopen = source.onerror = () => (store.connected = source.readyState === EventSource.OPEN);
  return Object.assign(store, { close: () => source.close() });
}

/** Values and writes by a websocket, which connects again by itself.  @param {string} url */
export function connect(url) {
  const store = new Store();
  const waiting = new Map();
  let socket, ended = false, asked = 0;
  const open = () => {
    socket = new WebSocket(url);
    socket.onopen = () => (store.connected = true);
    socket.onmessage = ({ data }) => {
      const said = JSON.parse(data);
      if (said.event === "content" || said.event === "change") return store.heard(said.event, said.data);
      const [committed, rejected] = waiting.get(said.ask) ?? [];
      waiting.delete(said.ask);
      if (said.event === "committed") committed?.(said.version);
      else rejected?.(new Error(said.error));
    };
    socket.onclose = () => {
      store.connected = false;
      for (const [, rejected] of waiting.values()) rejected(new Error("the connection broke: the write may have been made"));
      waiting.clear();
      if (!ended) setTimeout(open, 1000);
    };
  };
  const write = (what) => new Promise((committed, rejected) => {
    if (socket.readyState !== WebSocket.OPEN) return rejected(new Error("not connected"));
    waiting.set(++asked, [committed, rejected]);
    socket.send(JSON.stringify({ ...what, ask: asked }));
  });
  open();
  return Object.assign(store, {
    /** @param {Record<string, unknown>} values  @param {string[]} [deleted]  @returns {Promise<string>} */
    put: (values, deleted = []) => write({ put: values, delete: deleted }),
    /** @param {...string} keys  @returns {Promise<string>} */
    delete: (...keys) => write({ delete: keys }),
    close: () => ((ended = true), socket.close()),
  });
}
