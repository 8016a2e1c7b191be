// The pool of the machine, and the places of models: who has borrowed what now, and over the last minutes.

import { areas } from "./chart.js";
import { element, short } from "./dom.js";

const KEPT = 120;
const COLOURS = 6;
const MOST_MODELS = 40;
const WAYS = {
  cpu: ["cores", (value) => String(Number(value.toFixed(2)))],
  memory_bytes: ["memory", bytes],
  accelerator: ["accelerators", short],
  accelerator_bytes: ["accelerator memory", bytes],
};
const history = [];
const colours = new Map();
const bulk = new Set();

function bytes(value) {
  return value >= 2 ** 30 ? `${Number((value / 2 ** 30).toPrecision(3))} GiB` : `${short(value / 2 ** 20)} MiB`;
}

function colour(name) {
  if (!colours.has(name)) colours.set(name, colours.size % COLOURS);
  return colours.get(name);
}

export function showPool(section, now) {
  const { pool = null, places = [], replicas = [] } = now;
  remember(pool, places, replicas);
  const scaled = [...new Set(history.flatMap((each) => Object.keys(each.replicas)))].filter((name) => varies(name));
  section.hidden = !pool && !places.length && !scaled.length;
  if (section.hidden) return;
  section.querySelector(".lent").replaceChildren(...(pool ? lent(pool) : []));
  section.querySelector(".scaled").replaceChildren(...scaled.map(count));
  section.querySelector(".places").replaceChildren(...places.map((each) => place(each, places)));
}

function remember(pool, places, replicas) {
  const held = {};
  for (const { who, priority, held: amounts } of pool?.holders ?? []) {
    if (priority === "bulk") bulk.add(who);
    held[who] ??= {};
    for (const [name, value] of Object.entries(amounts)) held[who][name] = (held[who][name] ?? 0) + value;
  }
  const counts = {};
  for (const { model, state } of replicas) counts[model] = (counts[model] ?? 0) + (state === "READY" ? 1 : 0);
  const loads = {};
  for (const each of places) loads[each.name] = (loads[each.name] ?? 0) + each.loads;
  history.push({ held, replicas: counts, loads });
  if (history.length > KEPT) history.shift();
}

function varies(name) {
  const counts = history.map((each) => each.replicas[name] ?? 0);
  return new Set(counts).size > 1;
}

function lent({ capacity, holders }) {
  const names = [...new Set(history.flatMap((each) => Object.keys(each.held)))].sort();
  names.sort((one, other) => bulk.has(one) - bulk.has(other)); // bulk work stands upon what live work has
  const shown = Object.keys(capacity).filter((name) => name in WAYS);
  const charts = shown.map((name) => {
    const [label, say] = WAYS[name];
    const layers = names.map((who) => ({ colour: colour(who), values: history.map((each) => each.held[who]?.[name] ?? 0) }));
    const used = holders.reduce((sum, each) => sum + each.held[name], 0);
    const said = `${say(used)} of ${say(capacity[name])}`;
    return element("figure", { "data-resource": name }, element("figcaption", {}, label, element("b", {}, said)),
      areas(layers, { kept: KEPT, most: capacity[name], line: capacity[name], label: `${label}: ${said} borrowed` }));
  });
  const rows = holders.map((each) => {
    const waits = shown.filter((name) => each.waiting[name] > 0).map((name) => `${WAYS[name][1](each.waiting[name])} ${WAYS[name][0]}`);
    return element("tr", {}, element("th", { scope: "row" }, element("span", { class: `key fill-${colour(each.who)}` }), each.who || "somebody"),
      ...[each.priority, each.pid, ...shown.map((name) => WAYS[name][1](each.held[name])), waits.join(", ") || "–"].map((cell) => element("td", {}, String(cell))));
  });
  const head = ["who", "priority", "process", ...shown.map((name) => WAYS[name][0]), "waits for"];
  return [
    element("div", { class: "charts" }, ...charts),
    element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Who has borrowed what" }, element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((each) => element("th", { scope: "col" }, each)))),
      element("tbody", {}, ...rows))),
  ];
}

function count(name) {
  const values = history.map((each) => each.replicas[name] ?? 0);
  const said = `${values.at(-1)} now`;
  return element("figure", { "data-model": name }, element("figcaption", {}, `replicas of ${name}`, element("b", {}, said)),
    areas([{ colour: colour(`replicas of ${name}`), values }], { kept: KEPT, most: Math.max(...values), label: `replicas of ${name}: ${said}` }));
}

function place(each, all) {
  const several = new Set(all.map(({ process }) => process)).size > 1;
  const loads = history.map(({ loads }) => loads[each.name] ?? 0);
  const lately = loads.at(-1) - loads[0];
  const facts = [
    `${each.loaded} of ${each.models_known} models loaded`,
    each.max_loaded === null ? "" : `${each.max_loaded} places`,
    each.memory_bytes ? `${bytes(each.memory_bytes)} at most` : "",
    `${short(each.loads)} loads${history.length > 1 && !several ? `, ${short(lately)} in ${history.length} s` : ""}`,
    each.waiting_rows ? `${short(each.waiting_rows)} rows wait` : "",
  ];
  const inside = each.models.filter(({ state, waiting_rows }) => state !== "out" || waiting_rows);
  const chips = inside.slice(0, MOST_MODELS).map((model) => element("li", { class: `chip ${model.state}`, title: about(model) },
    model.name, model.waiting_rows ? element("b", {}, short(model.waiting_rows)) : null));
  return element("div", { class: "place" }, element("h3", {}, several ? `${each.name}, process ${each.process}` : each.name),
    element("p", { class: "quiet" }, facts.filter((fact) => fact).join(" · ")),
    element("ul", { class: "chips" }, ...chips, inside.length > MOST_MODELS ? element("li", {}, `and ${inside.length - MOST_MODELS} more`) : null));
}

function about(model) {
  const state = { in: "loaded", out: "not loaded", loading: "is being loaded", leaving: "is leaving" }[model.state];
  return [state, model.memory_bytes ? bytes(model.memory_bytes) : "", `loaded ${short(model.loads)} times`, model.error].filter((each) => each).join(", ");
}
