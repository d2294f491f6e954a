// A form made of a JSON Schema.

import { h, visible, focusedBeside, tell } from "./dom.js";
import { frame } from "./heart.js";
import { fillRange } from "./timeline.js";

export function render(model, el) {
  const life = frame(model, el, { label: "Form", anew: () => update() });
  const title = h("div", { class: "rx-title" }, visible(model.get("title") || ""));
  const by = h("span", { class: "rx-dim" });
  life.head.prepend(title, by);
  const form = h("div", { class: "rx-panel rx-form" });
  life.body.append(form);
  const schema = model.get("schema") ?? {};
  const fields = [];
  let serial = 0;

  const resolved = (part) => {
    const name = part?.$ref?.replace("#/$defs/", "");
    if (name !== undefined) return { ...resolved(schema.$defs?.[name] ?? {}), ...Object.fromEntries(Object.entries(part).filter(([key]) => key !== "$ref")) };
    if (part?.allOf?.length === 1) return { ...resolved(part.allOf[0]), ...part, allOf: undefined };
    const some = part?.anyOf?.filter((one) => one.type !== "null");
    if (some?.length === 1 && part.anyOf.length === 2) return { ...resolved(some[0]), title: part.title, description: part.description, optional: true };
    return part ?? {};
  };

  const build = (part, path, into) => {
    for (const [name, raw] of Object.entries(part.properties ?? {})) {
      const inner = resolved(raw);
      const here = [...path, name];
      if (inner.type === "object" && inner.properties && !inner.optional) {
        const group = h("fieldset", { class: "rx-group" }, h("legend", {}, visible(inner.title ?? name)));
        into.append(group);
        build(inner, here, group);
      } else into.append(field(inner, here, visible(raw.title ?? inner.title ?? name)));
    }
  };

  const field = (part, path, label) => {
    const id = `${life.id}-${serial++}`;
    const wrong = h("div", { class: "rx-wrong", id: `${id}-wrong`, role: "alert" });
    const common = { id, "aria-describedby": `${id}-wrong`, title: part.description ? visible(part.description) : undefined };
    const one = { path, wrong, busy: false, timer: 0, sent: null, lost: "", now: "" };
    const send = (value) => {
      const sent = (one.sent = {}); // until it is answered, the field keeps what the user put there
      one.lost = "";
      one.busy = true;
      clearTimeout(one.timer);
      one.timer = setTimeout(() => {
        one.busy = false;
        update();
      }, 700);
      const over = (lost) => {
        if (one.sent !== sent) return;
        one.sent = null;
        one.lost = lost;
        update();
      };
      life.act("field", { path, value }, { done: () => over(""), failed: (reason) => over(`Not written: ${reason}`) });
    };
    const low = part.minimum ?? part.exclusiveMinimum;
    const high = part.maximum ?? part.exclusiveMaximum;
    const numeric = part.type === "number" || part.type === "integer";
    let input;
    let shown;
    if (part.enum || part.const !== undefined) {
      const choices = part.enum ?? [part.const];
      input = h("select", { ...common, class: "rx-input" }, part.optional ? h("option", { value: "null" }, "–") : "", choices.map((choice) => h("option", { value: JSON.stringify(choice) }, visible(choice))));
      input.addEventListener("change", () => send(JSON.parse(input.value)));
      one.put = (value) => { input.value = JSON.stringify(value ?? null); };
    } else if (part.type === "boolean") {
      input = h("input", { ...common, type: "checkbox", role: "switch", class: "rx-switch" });
      input.addEventListener("change", () => send(input.checked));
      one.put = (value) => { input.checked = Boolean(value); };
    } else if (numeric && low !== undefined && high !== undefined && !part.optional) {
      const step = part.multipleOf ?? (part.type === "integer" ? 1 : nice((high - low) / 200));
      const first = part.minimum ?? low + step;
      const last = part.maximum ?? high - step;
      input = h("input", { ...common, type: "range", class: "rx-range", min: first, max: last, step: part.multipleOf || part.type === "integer" ? step : "any" });
      const typed = h("input", { type: "number", class: "rx-input rx-typed", min: first, max: last, step: part.type === "integer" ? 1 : "any", "aria-label": `${label}, as a number` });
      const rounded = () => (part.type === "integer" || part.multipleOf ? Number(input.value) : Number((Math.round(Number(input.value) / step) * step).toPrecision(12)));
      input.addEventListener("input", () => {
        typed.value = rounded();
        fillRange(input);
        send(rounded());
      });
      typed.addEventListener("change", () => typed.value !== "" && send(Number(typed.value)));
      one.put = (value) => {
        input.value = value ?? first;
        if (focusedBeside(typed) !== typed) typed.value = value ?? "";
        fillRange(input);
      };
      shown = h("div", { class: "rx-slide" }, input, typed);
    } else if (numeric) {
      input = h("input", { ...common, type: "number", class: "rx-input", min: low, max: high, step: part.type === "integer" ? 1 : "any" });
      input.addEventListener("change", () => send(input.value === "" ? null : Number(input.value)));
      one.put = (value) => { input.value = value ?? ""; };
    } else if (part.type === "string" && !part.contentMediaType) {
      const kind = { date: "date", time: "time", "date-time": "datetime-local", email: "email", uri: "url", password: "password" }[part.format] ?? "text";
      input = part.maxLength > 200 ? h("textarea", { ...common, class: "rx-input rx-tall", rows: 3 }) : h("input", { ...common, type: kind, class: "rx-input", step: kind === "time" || kind === "datetime-local" ? 1 : undefined });
      const event = kind === "text" || kind === "password" ? "input" : "change";
      const sent = () => (input.value === "" && (part.optional || part.format) ? null : kind === "datetime-local" ? new Date(input.value).toISOString() : input.value);
      input.addEventListener(event, () => send(sent()));
      one.put = (value) => {
        if (kind !== "datetime-local" || !value) input.value = value ?? "";
        else {
          const date = new Date(value);
          input.value = new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
        }
      };
    } else {
      input = h("textarea", { ...common, class: "rx-input rx-tall rx-code", rows: 2, spellcheck: "false" });
      input.addEventListener("change", () => {
        try {
          send(JSON.parse(input.value));
          wrong.textContent = "";
        } catch {
          wrong.textContent = "This is no JSON";
        }
      });
      one.put = (value) => { input.value = value === undefined ? "" : JSON.stringify(value); };
    }
    one.input = input;
    one.active = () => one.busy || one.sent || (focusedBeside(input) === input && !["checkbox", "range", "select-one"].includes(input.type));
    input.addEventListener("blur", () => update());
    for (const typed of [input, shown?.lastChild].filter(Boolean)) {
      typed.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || typed.tagName !== "INPUT") return;
        typed.blur(); // which is what tells of a change, also where the page around it keeps Enter to itself
        typed.focus();
      });
    }
    fields.push(one);
    return h("div", { class: "rx-row" }, h("label", { for: id, title: part.description ? visible(part.description) : undefined }, label), h("div", { class: "rx-cell" }, shown ?? input, wrong));
  };

  const update = () => {
    const value = model.get("value");
    const wrong = model.get("wrong") ?? {};
    for (const one of fields) {
      const now = one.path.reduce((inner, name) => inner?.[name], value ?? {});
      const text = JSON.stringify(now);
      if (one.now !== text) one.lost = "";
      one.now = text;
      const why = wrong[one.path.join("/")] || one.lost;
      if (!one.active() && !why) one.put(now);
      tell(one.wrong, why ? visible(why) : "");
      one.input.setAttribute("aria-invalid", String(Boolean(why)));
    }
    by.textContent = model.get("pending") ? "saving…" : model.get("by") ? `by ${visible(model.get("by"))}` : "";
  };

  build(resolved(schema), [], form);
  const offs = ["value", "wrong", "by", "pending"].map((name) => model.on(name, update));
  update();
  return () => {
    for (const one of fields) clearTimeout(one.timer);
    for (const off of offs) off();
    life.end();
  };
}

function nice(step) {
  const size = 10 ** Math.floor(Math.log10(step || 1));
  return [1, 2, 5, 10].map((one) => one * size).find((one) => one >= step * 0.999) ?? step;
}
