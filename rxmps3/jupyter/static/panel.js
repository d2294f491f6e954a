// A component of Panel as the model of a view: states and messages come as messages of the component.

/** What Panel calls to draw, of what draws a view. */
export function rendering(render) {
  return async ({ model, el }) => {
    const carried = new Carried(model);
    await carried.ready;
    const end = render(carried, el);
    model.on("remove", () => end?.());
  };
}

class Carried {
  server = "server";

  constructor(model) {
    this.component = model;
    this.state = {};
    this.listeners = new Map();
    this.ready = new Promise((loaded) => {
      this.loaded = loaded;
    });
    model.on("msg:custom", (event) => this.heard(event?.data ?? event));
    this.component.send_msg({ state: true });
  }

  heard(said) {
    if (said.state) {
      Object.assign(this.state, said.state);
      this.loaded();
      for (const [name, value] of Object.entries(said.state)) this.tell(name, value);
    } else if (said.message) this.tell("message", said.message);
    else if (said.states) {
      Object.assign(this.state, said.states);
      for (const [name, value] of Object.entries(said.states)) this.tell(name, value);
    }
  }

  tell(name, value) {
    for (const fn of this.listeners.get(name) ?? []) fn(value);
  }

  /** Not known: Panel does not say whether its server is there. */
  alive() {
    return "";
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    this.state[name] = value;
    this.component.send_msg({ name, value });
  }

  on(name, fn) {
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), fn]);
    return () => this.listeners.set(name, this.listeners.get(name).filter((one) => one !== fn));
  }

  send(message) {
    this.component.send_msg({ message });
  }
}
