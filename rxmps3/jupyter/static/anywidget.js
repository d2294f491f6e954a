// A notebook's widget model as the model of a view.

/** What anywidget calls to draw, of what draws a view. */
export function rendering(render) {
  return ({ model, el }) => {
    const [carried, end] = adapted(model);
    const ends = render(carried, el);
    return () => {
      end();
      ends?.();
    };
  };
}

function adapted(model) {
  let cut = false; // the kernel was restarted, and knows nothing of this model any more
  // Another page may have restarted it: the process that answers says so itself, in each message.
  let process = "";
  const heard = (_, { msg, direction }) => {
    const { msg_type, session } = msg.header;
    if (direction !== "recv" || msg_type !== "status" || !["busy", "idle"].includes(msg.content.execution_state)) return;
    process ||= session;
    cut ||= session !== process;
  };
  const messages = model.widget_manager?.kernel?.anyMessage;
  messages?.connect(heard);
  model.on("comm_live_update", function () {
    cut = (this?.model ?? this)?.comm_live !== true;
  });
  const carried = {
    get: (name) => model.get(name),
    set(name, value) {
      model.set(name, value);
      model.save_changes();
    },
    on(name, fn) {
      if (name === "connected") {
        const signal = model.widget_manager?.kernel?.connectionStatusChanged;
        const call = (_, status) => fn(status === "connected");
        signal?.connect(call);
        return () => signal?.disconnect(call);
      }
      const event = name === "message" ? "msg:custom" : `change:${name}`;
      const call = name === "message" ? (message) => fn(message) : () => fn(model.get(name));
      model.on(event, call);
      return () => model.off(event, call);
    },
    send: (message) => model.send(message),
    alive() {
      if (cut) return "dead";
      const status = model.widget_manager?.kernel?.status;
      return ["dead", "terminating", "unknown"].includes(status) ? "dead" : "";
    },
  };
  return [carried, () => messages?.disconnect(heard)];
}
