// A notebook's widget model as the model of a view.

/** What anywidget calls to draw, of what draws a view. */
export function rendering(render) {
  return ({ model, el }) => render(adapted(model), el);
}

function adapted(model) {
  return {
    get: (name) => model.get(name),
    set(name, value) {
      model.set(name, value);
      model.save_changes();
    },
    on(name, fn) {
      const event = name === "message" ? "msg:custom" : `change:${name}`;
      const call = name === "message" ? (message) => fn(message) : () => fn(model.get(name));
      model.on(event, call);
      return () => model.off(event, call);
    },
    send: (message) => model.send(message),
    alive() {
      const status = model.widget_manager?.kernel?.status;
      return ["dead", "terminating", "unknown"].includes(status) ? "dead" : "";
    },
  };
}
