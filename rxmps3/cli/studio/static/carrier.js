// A view's model, carried by a websocket.

const AGAIN = 1500;

/** The model of one view, as a view's `render` takes it. It connects by itself, again after the server was away. */
export class Model {
  server = "server";

  constructor(name) {
    this.name = name;
    this.state = {};
    this.listeners = new Map();
    this.connected = false;
    this.ended = false;
    this.ready = new Promise((loaded) => {
      this.loaded = loaded;
    });
    this.connect();
  }

  connect() {
    const token = new URLSearchParams(location.search).get("token") ?? "";
    const socket = new WebSocket(`ws://${location.host}/ws/${this.name}?token=${encodeURIComponent(token)}`);
    this.socket = socket;
    socket.addEventListener("message", ({ data }) => this.heard(JSON.parse(data)));
    socket.addEventListener("close", () => {
      this.connected = false;
      this.tell("connected", false);
      if (!this.ended) setTimeout(() => this.connect(), AGAIN);
    });
  }

  heard(said) {
    if (said.state) {
      const again = this.wasLoaded;
      this.connected = this.wasLoaded = true;
      Object.assign(this.state, said.state);
      this.loaded();
      this.tell("connected", true);
      if (again) for (const [name, value] of Object.entries(said.state)) this.tell(name, value);
    } else if (said.message) this.tell("message", said.message);
    else {
      Object.assign(this.state, said.states);
      for (const [name, value] of Object.entries(said.states)) this.tell(name, value);
    }
  }

  tell(name, value) {
    for (const fn of this.listeners.get(name) ?? []) fn(value);
  }

  alive() {
    return this.connected ? "alive" : "dead";
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    this.state[name] = value;
    if (this.connected) this.socket.send(JSON.stringify({ name, value }));
  }

  on(name, fn) {
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), fn]);
    return () => this.listeners.set(name, this.listeners.get(name).filter((one) => one !== fn));
  }

  send(message) {
    if (this.connected) this.socket.send(JSON.stringify({ message }));
  }

  end() {
    this.ended = true;
    this.socket.close();
  }
}
