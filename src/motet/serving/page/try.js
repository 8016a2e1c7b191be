// The form to try a graph: a field an input, or rows as JSON.

import { showAnswer, showFailure } from "./answer.js";
import { curlCommand, pythonCommand } from "./command.js";
import { ROOT, element, parseExactly } from "./dom.js";
import { PictureField } from "./picture.js";

const KEY = "motet-key";

export class TryForm {
  constructor(form, answer) {
    Object.assign(this, { form, answer, tab: "form" });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  show(served) {
    this.served = served;
    this.fields = served.inputs.map((input) => field(input));
    this.json = element("textarea", { class: "large", id: "json", spellcheck: "false", "aria-label": "Rows as JSON" });
    this.json.value = exampleText(served);
    this.send = element("button", { class: "main" }, "Ask");
    this.explain = element("input", { type: "checkbox", id: "explain", checked: true });
    this.command = element("pre", { class: "command", id: "command", tabindex: "0", hidden: true });
    const copies = [["curl", curlCommand], ["Python", pythonCommand]].map(([name, written]) =>
      element("button", { type: "button", id: `copy-${name.toLowerCase()}`, onclick: (event) => this.#copy(written, event.currentTarget) }, `Copy as ${name}`));
    this.key = element("input", { type: "password", id: "key", autocomplete: "off" });
    this.key.value = sessionStorage.getItem(KEY) ?? "";
    this.panels = {
      form: element("div", { role: "tabpanel", id: "panel-form", "aria-labelledby": "tab-form" }, ...this.fields.map((each) => each.node)),
      json: element("div", { role: "tabpanel", id: "panel-json", "aria-labelledby": "tab-json", class: "field" }, this.json),
    };
    this.tabs = Object.fromEntries([["form", "One row"], ["json", "Rows as JSON"]].map(([tab, label]) =>
      [tab, element("button", { type: "button", role: "tab", id: `tab-${tab}`, "aria-controls": `panel-${tab}`, onclick: () => this.#choose(tab), onkeydown: (event) => this.#turn(event) }, label)]));
    this.form.replaceChildren(
      element("div", { class: "tabs", role: "tablist", "aria-label": "How to ask" }, ...Object.values(this.tabs)),
      this.panels.form, this.panels.json,
      element("div", { class: "row" }, this.send, element("label", {}, this.explain, " explain"), element("span", { class: "row copies" }, ...copies)),
      this.command,
      element("details", {}, element("summary", {}, "API key"), element("div", { class: "field" },
        element("label", { for: "key" }, "Sent as X-API-Key, kept until this tab is closed"), this.key)));
    this.#choose(this.tab);
    this.answer.replaceChildren(element("p", { class: "quiet" }, "Nothing was asked yet."));
  }

  #choose(tab) {
    this.tab = tab;
    for (const [name, button] of Object.entries(this.tabs)) {
      button.setAttribute("aria-selected", String(name === tab));
      button.tabIndex = name === tab ? 0 : -1;
      this.panels[name].hidden = name !== tab;
    }
  }

  #turn(event) {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = this.tab === "form" ? "json" : "form";
    this.#choose(other);
    this.tabs[other].focus();
  }

  async #send() {
    const served = this.served;
    sessionStorage.setItem(KEY, this.key.value);
    this.send.disabled = true;
    try {
      const headers = this.key.value ? { "x-api-key": this.key.value } : {};
      const { body, kind, picture } = this.tab === "json" ? { body: this.json.value, kind: "application/json" } : await this.#body();
      if (kind) headers["content-type"] = kind;
      const query = this.explain.checked ? "?explain=1" : "";
      const began = performance.now();
      const answer = await fetch(`${ROOT}/predict/${encodeURIComponent(served.name)}${query}`, { method: "POST", headers, body });
      const said = parseExactly(await answer.text());
      const seconds = (performance.now() - began) / 1e3;
      if (served !== this.served) return;
      if (answer.ok) showAnswer(this.answer, said, served, seconds, picture);
      else showFailure(this.answer, `${answer.status}: ${said.error}`);
    } catch (error) {
      showFailure(this.answer, String(error.message ?? error));
    } finally {
      this.send.disabled = false;
    }
  }

  // What the fields hold: files, and texts, which are JSON where the field is not for text.
  async #given() {
    const values = [];
    for (const each of this.fields) values.push([each.input, await each.value()]);
    const given = values.filter(([, value]) => value !== undefined);
    const files = given.filter(([, value]) => value instanceof Blob);
    const texts = given.filter(([, value]) => !(value instanceof Blob));
    return { files, texts };
  }

  // A form where there is a file, else one row's object; and the picture, where there is one.
  async #body() {
    const { files, texts } = await this.#given();
    const pictures = files.filter(([input]) => input.widget === "picture").map(([input, file]) => ({ input, file }));
    const picture = pictures.length === 1 ? pictures[0] : null;
    if (!files.length) return { body: rowText(texts), kind: "application/json", picture };
    const body = new FormData();
    for (const [input, value] of texts) body.append(input.name, value);
    for (const [input, value] of files) body.append(input.name, value, value.name ?? "drawing.png");
    return { body, kind: null, picture };
  }

  // Show what is asked as a command, and copy it, where the browser lets the page.
  async #copy(written, button) {
    try {
      this.command.textContent = written(await this.#asked());
    } catch (error) {
      this.command.textContent = String(error.message ?? error);
    }
    this.command.hidden = false;
    const label = button.textContent;
    await navigator.clipboard?.writeText(this.command.textContent).then(() => {
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = label), 1500);
    }, () => undefined);
  }

  async #asked() {
    const query = this.explain.checked ? "?explain=1" : "";
    const asked = { url: `${ROOT}/predict/${encodeURIComponent(this.served.name)}${query}`, keyed: this.key.value !== "" };
    if (this.tab === "json") {
      JSON.parse(this.json.value);
      return { ...asked, json: this.json.value.trim(), texts: [], files: [] };
    }
    const { files, texts } = await this.#given();
    for (const [input, file] of files.filter(([, each]) => !each.name)) texts.push([{ ...input, widget: "text" }, await address(file)]);
    const named = files.filter(([, file]) => file.name).map(([input, file]) => ({ name: input.name, path: file.name, isPicture: input.widget === "picture" }));
    return { ...asked, json: rowText(texts), texts: texts.map(([input, value]) => [input.name, value]), files: named };
  }
}

// A row's object: numbers stay as they were written.
const rowText = (texts) => `{${texts.map(([input, value]) => `${JSON.stringify(input.name)}:${input.widget === "text" ? JSON.stringify(value) : value}`).join(",")}}`;

// A drawing as the text that stands for it, since it is no file on anyone's disk.
function address(file) {
  return new Promise((resolve, reject) => {
    const reader = Object.assign(new FileReader(), { onload: () => resolve(reader.result), onerror: () => reject(reader.error) });
    reader.readAsDataURL(file);
  });
}

// A field of the form: its node, and its value: a file, a text, or JSON as it was written, since JavaScript's numbers
// hold 53 bits; undefined where an optional one is left empty.
function field(input) {
  const id = `input-${input.name}`;
  const type = element("span", { class: "type" }, input.type + (input.optional ? ", optional" : ""));
  if (input.widget === "picture") {
    const picture = new PictureField(input);
    const value = async () => {
      const file = await picture.value();
      if (!file && !input.optional) throw new Error(`${input.name}: ${picture.pad ? "draw something, or choose a file" : "choose a picture"}`);
      return file ?? undefined;
    };
    return { input, value, node: element("div", { class: "field" }, element("span", { class: "label" }, input.name, type), picture.node) };
  }
  const control = controlOf(input, id);
  const node = element("div", { class: "field" }, element("label", { for: id }, input.name, type), control);
  return { input, node, value: async () => valueOf(input, control) };
}

function controlOf(input, id) {
  if (input.widget === "file") return element("input", { type: "file", id });
  if (input.widget === "flag") return element("input", { type: "checkbox", id });
  if (input.widget === "number") return element("input", { type: "number", step: input.dtype.includes("int") ? "1" : "any", id });
  if (input.widget === "text") return element("input", { type: "text", id });
  const area = element("textarea", { id, spellcheck: "false" });
  if (!input.optional) area.value = JSON.stringify(exampleValue(input));
  return area;
}

function valueOf(input, control) {
  if (input.widget === "flag") return String(control.checked);
  if (input.widget === "file") return control.files[0];
  if (input.widget === "text") return control.value === "" && input.optional ? undefined : control.value;
  const text = control.value.trim();
  if (text === "") return undefined;
  if (input.widget === "number") return /^-?\d+$/.test(text) ? String(BigInt(text)) : String(Number(text));
  try {
    JSON.parse(text);
    return text;
  } catch (error) {
    throw new Error(`${input.name}: ${error.message}`);
  }
}

function exampleText(served) {
  const row = Object.fromEntries(served.inputs.filter((each) => !each.optional).map((each) => [each.name, exampleValue(each)]));
  return JSON.stringify({ rows: [row] }, null, 1).replace(/\[\s+([-\d.,\s]+?)\s+\]/g, (_, inner) => `[${inner.replace(/\s+/g, "")}]`);
}

function exampleValue(input) {
  const base = { string: "text", bytes: "", bool: false, any: null }[input.dtype] ?? 0;
  return input.shape.reduceRight((inner, axis) => Array.from({ length: axis ?? 2 }, () => inner), base);
}
