// An answer, drawn: outputs, bars for scores, and what each member said.

import { duration, element } from "./dom.js";

const MOST_BARS = 10;
const MOST_ROWS = 50;

export function showFailure(box, text) {
  box.replaceChildren(element("p", { class: "failed", role: "alert" }, text));
}

export function showAnswer(box, answer, labels, seconds) {
  const rows = Array.isArray(answer.rows) && Object.keys(answer).length === 1 ? answer.rows : [answer];
  const shown = rows.slice(0, MOST_ROWS).map((row) => rowNode(row, labels));
  const more = rows.length > MOST_ROWS ? [element("p", { class: "quiet" }, `and ${rows.length - MOST_ROWS} more rows`)] : [];
  box.replaceChildren(...shown, ...more, element("p", { class: "times" }, element("span", {}, "round trip ", element("b", {}, duration(seconds)))));
}

function rowNode({ explain, ...outputs }, labels) {
  if ("error" in outputs && Object.keys(outputs).length === 1) {
    return element("div", { class: "answer" }, element("p", { class: "failed" }, outputs.error), explain ? opinions(explain, labels) : null);
  }
  const list = element("dl", { class: "outputs" }, ...Object.entries(outputs).map(([name, value]) => outputNode(name, value, labels)));
  return element("div", { class: "answer" }, list, explain ? opinions(explain, labels) : null);
}

function outputNode(name, value, labels) {
  const drawn = valueNode(value, labels, name);
  const wide = !(typeof drawn === "string");
  return element("div", { class: wide ? "wide" : undefined, "data-output": name }, element("dt", {}, name), element("dd", {}, drawn));
}

function valueNode(value, labels, name) {
  if (typeof value === "number") {
    const named = name === "label" || name === "index" ? labels[value] : undefined;
    return (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)))) + (named ? ` (${named})` : "");
  }
  if (value === null) return "null";
  if (typeof value !== "object") return String(value);
  if (isNumbers(value) && value.length > 1) return bars(value, labels);
  if (isPixels(value)) return pixels(value);
  const text = JSON.stringify(value);
  return element("pre", {}, text.length > 4000 ? `${text.slice(0, 4000)}…` : text);
}

const isNumbers = (value) => Array.isArray(value) && value.every((each) => typeof each === "number");

function isPixels(value) {
  return Array.isArray(value) && value.length > 3 && value.every(isNumbers) && value[0].length > 3
    && value.every((row) => row.length === value[0].length && row.every((each) => each >= 0 && each <= 255));
}

// The largest values first; a bar as long as its part of the largest, or of 1 for probabilities.
function bars(values, labels, most = MOST_BARS) {
  const order = values.map((_, place) => place).sort((a, b) => values[b] - values[a]).slice(0, most);
  const least = Math.min(0, ...values);
  const whole = least === 0 && values[order[0]] <= 1 ? 1 : values[order[0]] - least || 1;
  const rows = order.map((place, rank) => {
    const width = `${(100 * (values[place] - least)) / whole}%`;
    const fill = element("span", { class: "fill" });
    fill.style.width = width;
    return element("li", {}, element("span", { class: rank ? undefined : "first" }, labels[place] ?? String(place)),
      element("span", { class: "track", "aria-hidden": "true" }, fill), element("span", { class: "value" }, values[place].toPrecision(3)));
  });
  return element("ol", { class: "bars" }, ...rows);
}

function pixels(rows) {
  const canvas = element("canvas", { width: rows[0].length, height: rows.length, role: "img", "aria-label": "the answer as a picture" });
  const image = new ImageData(rows[0].length, rows.length);
  const scale = Math.max(...rows.map((row) => Math.max(...row))) <= 1 ? 255 : 1;
  rows.flat().forEach((value, place) => image.data.set([value * scale, value * scale, value * scale, 255], place * 4));
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.style.cssText = "width: 14rem; image-rendering: pixelated; border-radius: 8px";
  return canvas;
}

function opinions(explain, labels) {
  const cards = explain.calls.map((call) => opinion(call, labels));
  const times = element("p", { class: "times" },
    element("span", {}, "in the queue ", element("b", {}, duration(explain.queue_s))),
    element("span", {}, "played in ", element("b", {}, duration(explain.compute_s))),
    element("span", {}, "rows in its batch ", element("b", {}, String(explain.batch_rows))));
  return element("div", {}, cards.length ? element("h3", {}, "What each one said") : null, element("div", { class: "opinions" }, ...cards), times);
}

function opinion(call, labels) {
  const who = call.member && call.member !== call.uses ? `${call.member}: ${call.uses}` : call.uses;
  const [version, whole] = [call.version ?? "", call.version ?? ""];
  const head = element("header", {}, element("b", {}, who), element("span", { class: "quiet" }, `${call.node} · ${duration(call.seconds)}`),
    version ? element("span", { class: "version", title: whole }, version.length > 14 ? `${version.slice(0, 13)}…` : version) : null);
  const outputs = Object.entries(call.outputs).map(([name, value]) => {
    const drawn = isNumbers(value) && value.length > 1 ? bars(value, labels, 3) : valueNode(value, labels, name);
    return element("div", { title: name }, drawn);
  });
  const errors = (call.errors ?? []).map((each) => element("p", { class: "failed" }, each));
  return element("article", { class: "opinion", "data-member": call.member ?? call.uses }, head, ...outputs, ...errors);
}
