// An answer, drawn: names with their scores, pictures, boxes over the picture that was asked about, and what each member said.

import { duration, element } from "./dom.js";
import { boxedNode, isBoxes, pictureNode } from "./shown.js";

const MOST_BARS = 10;
const MOST_ROWS = 50;
const MOST_NUMBERS = 40;
const MOST_LETTERS = 4000;

export function showFailure(box, text) {
  box.replaceChildren(element("p", { class: "failed", role: "alert" }, text));
}

// served: what `/graphs.json` says of it; picture: the file and the input that it was given for, where there was one.
export function showAnswer(box, answer, served, seconds, picture) {
  const rows = Array.isArray(answer.rows) && Object.keys(answer).length === 1 ? answer.rows : [answer];
  const shown = rows.slice(0, MOST_ROWS).map((row) => rowNode(row, served, picture));
  const more = rows.length > MOST_ROWS ? [element("p", { class: "quiet" }, `and ${rows.length - MOST_ROWS} more rows`)] : [];
  box.replaceChildren(...shown, ...more, element("p", { class: "times" }, element("span", {}, "round trip ", element("b", {}, duration(seconds)))));
}

function rowNode({ explain, ...outputs }, served, picture) {
  const said = explain ? opinions(explain, served) : null;
  if ("error" in outputs && Object.keys(outputs).length === 1) {
    return element("div", { class: "answer" }, element("p", { class: "failed" }, outputs.error), said);
  }
  const labels = (place) => (place === null ? null : served.labels[place]);
  const about = Object.fromEntries(served.outputs.map((each) =>
    [each.name, { ...each, classes: labels(each.classes), positions: labels(each.positions) }]));
  return element("div", { class: "answer" }, element("dl", { class: "outputs" }, ...nodesOf(outputs, about, picture)), said);
}

// What belongs together is one node: names and scores of as many places, and the boxes that they are of.
function nodesOf(outputs, about, picture, most = MOST_BARS) {
  const parts = Object.entries(outputs).map(([name, value]) => {
    const known = about[name] ?? { dtype: "any" };
    return { name, value, about: known, kind: kindOf(name, value, known) };
  });
  const ranked = rankingOf(parts);
  const boxes = picture ? parts.filter((each) => each.kind === "boxes") : [];
  const nodes = boxes.map((each) => outputNode(each.name, boxedNode(each, picture, ranked?.names)));
  if (ranked) nodes.push(outputNode(ranked.title, bars(ranked.entries, most), ranked.output));
  const done = new Set([...boxes, ...(ranked?.parts ?? [])]);
  return [...nodes, ...parts.filter((each) => !done.has(each)).map((each) => outputNode(each.name, valueNode(each, most)))];
}

function outputNode(title, drawn, output = title) {
  return element("div", { class: typeof drawn === "string" ? undefined : "wide", "data-output": output }, element("dt", {}, title), element("dd", {}, drawn));
}

const isList = (value, type) => Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === type);

function kindOf(name, value, about) {
  if (isList(value, "string") && about.dtype !== "bytes") return "names";
  if (isList(value, "number")) {
    const float = about.dtype.startsWith("float") || (about.dtype === "any" && value.some((each) => !Number.isInteger(each)));
    return isBoxes(name, value, about) ? "boxes" : float && value.length > 1 ? "scores" : "numbers";
  }
  return isBoxes(name, value, about) ? "boxes" : "other";
}

// One list of names (or of positions, whose names are known or which the same node found) beside one of as many scores,
// in the order in which they came; null where it is not plain which belong together.
function rankingOf(parts) {
  const scores = parts.filter((each) => each.kind === "scores" && !each.about.classes);
  if (scores.length !== 1) return null;
  const [score] = scores;
  const many = (kind) => parts.filter((each) => each.kind === kind && each.value.length === score.value.length);
  const [names, positions] = [many("names"), many("numbers").filter((each) => each.about.positions || (each.about.node && each.about.node === score.about.node))];
  if (names.length > 1 || positions.length > 1 || names.length + positions.length === 0) return null;
  const [named, found] = [names[0], positions[0]];
  const label = (place) => named?.value[place] ?? found.about.positions?.[found.value[place]] ?? String(found.value[place]);
  const used = [named, found, score].filter((each) => each);
  return {
    parts: used, output: score.name, title: used.map((each) => each.name).join(", "), names: score.value.map((_, place) => label(place)),
    entries: score.value.map((value, place) => ({ label: label(place), value, beside: named && found ? String(found.value[place]) : "" })),
  };
}

function valueNode({ name, value, about, kind }, most) {
  if (typeof value === "number") return numberText(value) + (about.positions?.[value] ? ` (${about.positions[value]})` : "");
  if (value === null) return "null";
  const picture = pictureNode(name, value, about);
  if (picture) return picture;
  if (typeof value !== "object") return String(value).length > MOST_LETTERS ? `${String(value).slice(0, MOST_LETTERS)}…` : String(value);
  if (kind === "scores") return scoresNode(value, about, most);
  if (kind === "numbers") return numbersText(value.map((each) => (about.positions?.[each] ? `${each} (${about.positions[each]})` : numberText(each))));
  const text = JSON.stringify(value);
  return element("pre", {}, text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS)}…` : text);
}

const numberText = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4))));

const numbersText = (texts) => `${texts.slice(0, MOST_NUMBERS).join(", ")}${texts.length > MOST_NUMBERS ? `, … (${texts.length})` : ""}`;

// Numbers of known classes, or that are parts of 1, the largest first; a few of others in their order; many as text.
function scoresNode(value, { classes }, most) {
  const isWhole = value.every((each) => each >= 0 && each <= 1) && Math.abs(value.reduce((sum, each) => sum + each, 0) - 1) < 0.01;
  if (!classes && !isWhole && value.length > MOST_BARS) return numbersText(value.map(numberText));
  const entries = value.map((each, place) => ({ label: classes?.[place] ?? String(place), value: each }));
  return bars(classes || isWhole ? entries.sort((a, b) => b.value - a.value) : entries, most);
}

// A bar as long as its part of the largest, or of 1 for probabilities.
function bars(entries, most) {
  const values = entries.map((each) => each.value);
  const [least, largest] = [Math.min(0, ...values), Math.max(...values)];
  const whole = least === 0 && largest <= 1 ? 1 : largest - least || 1;
  const rows = entries.slice(0, most).map(({ label, value, beside }) => {
    const fill = element("span", { class: "fill" });
    fill.style.width = `${(100 * (value - least)) / whole}%`;
    return element("li", {}, element("span", { class: value === largest ? "first" : undefined, title: label }, label, beside ? element("i", {}, beside) : null),
      element("span", { class: "track", "aria-hidden": "true" }, fill), element("span", { class: "value" }, value.toPrecision(3)));
  });
  const more = entries.length > most && most === MOST_BARS ? [element("li", { class: "more" }, `and ${entries.length - most} more`)] : [];
  return element("ol", { class: "bars" }, ...rows, ...more);
}

function opinions(explain, served) {
  const cards = explain.calls.map((call) => opinion(call, served));
  const times = element("p", { class: "times" },
    element("span", {}, "in the queue ", element("b", {}, duration(explain.queue_s))),
    element("span", {}, "played in ", element("b", {}, duration(explain.compute_s))),
    element("span", {}, "rows in its batch ", element("b", {}, String(explain.batch_rows))));
  return element("div", {}, cards.length ? element("h3", {}, "What each one said") : null, element("div", { class: "opinions" }, ...cards), times);
}

function opinion(call, served) {
  const who = call.member && call.member !== call.uses ? `${call.member}: ${call.uses}` : call.uses;
  const version = call.version ?? "";
  const head = element("header", {}, element("b", {}, who), element("span", { class: "quiet" }, `${call.node} · ${duration(call.seconds)}`),
    version ? element("span", { class: "version", title: version }, version.length > 14 ? `${version.slice(0, 13)}…` : version) : null);
  const classes = (name) => served.labels[served.classes[[call.node, call.member, name].filter((each) => each).join(".")]] ?? null;
  const about = Object.fromEntries(Object.keys(call.outputs).map((name) => [name, { dtype: "any", classes: classes(name) }]));
  const errors = (call.errors ?? []).map((each) => element("p", { class: "failed" }, each));
  return element("article", { class: "opinion", "data-member": call.member ?? call.uses }, head,
    element("dl", { class: "outputs" }, ...nodesOf(call.outputs, about, null, 3)), ...errors);
}
