// The page: what is served, the graph that was chosen, and its numbers, asked for once a second.

import { duration, element, getJson, short } from "./dom.js";
import { showDrift } from "./drift.js";
import { Drawing } from "./drawing.js";
import { showErrors } from "./errors.js";
import { showExperiments } from "./experiments.js";
import { showPool } from "./pool.js";
import { showReplicas } from "./replicas.js";
import { TryForm } from "./try.js";

const EVERY_MS = 1000;
const KEPT = 60;
const find = (id) => document.getElementById(id);

const state = { served: [], chosen: null, before: null, history: [] };
const drawing = new Drawing(find("drawing"));
const form = new TryForm(find("try"), find("answer"));

async function begin() {
  find("larger").addEventListener("click", ({ currentTarget: button }) => {
    button.setAttribute("aria-pressed", String(find("drawing").classList.toggle("large")));
  });
  await list();
  addEventListener("hashchange", choose);
  choose();
  look();
}

async function list() {
  const found = await getJson("/graphs.json");
  state.served = found.served;
  find("about").textContent = `version ${found.version}`;
  const graphs = found.served.filter((each) => each.kind === "graph");
  const lists = graphs.map((graph) => {
    const models = found.served.filter((each) => each.kind === "model" && each.graph === graph.name);
    return element("li", {}, link(graph), element("ul", {}, ...models.map((model) => element("li", {}, link(model)))));
  });
  find("served").replaceChildren(element("section", {}, element("h2", {}, "Graphs"), element("ul", {}, ...lists)));
}

function link(served) {
  const label = served.kind === "model" ? served.name.slice(served.graph.length + 1) : served.name;
  const dot = element("span", { class: `dot ${served.state}`, title: `${served.state} ${served.reason}`.trim() });
  return element("a", { href: `#${served.name}`, "data-name": served.name }, dot, label);
}

function choose() {
  const name = decodeURIComponent(location.hash.slice(1));
  if (name === "main") return;
  const chosen = state.served.find((each) => each.name === name || each.short === name) ?? state.served[0];
  if (!chosen || chosen === state.chosen) return;
  Object.assign(state, { chosen, history: [] });
  for (const each of document.querySelectorAll(".served a")) {
    if (each.dataset.name === chosen.name) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  document.title = `${chosen.name} · Motet`;
  find("title").textContent = chosen.name;
  tell(chosen);
  form.show(chosen);
  drawing.show(chosen.name).then(() => state.before && draw(state.before, null));
}

function tell(served) {
  const takes = served.inputs.map((each) => `${each.name}: ${each.type}`).join(", ");
  const gives = served.outputs.map((each) => `${each.name}: ${each.type}`).join(", ");
  const what = served.kind === "graph" ? "graph" : `model of ${served.graph} (${served.platform.replace("motet_", "")})`;
  const how = served.state === "READY" ? "" : ` · ${served.state.toLowerCase()} ${served.reason}`;
  find("what").replaceChildren(`${what} · `, element("span", { class: "mono" }, `(${takes}) → (${gives})`), how);
}

async function look() {
  if (!document.hidden) {
    try {
      const now = await getJson("/status.json");
      draw(now, state.before);
      showPool(find("pool"), now);
      if (state.chosen) showExperiments(find("experiments"), state.chosen);
      state.before = now;
    } catch {
      pill("bad", "not reachable");
    }
  }
  setTimeout(look, EVERY_MS);
}

function pill(kind, text) {
  const shown = find("ready");
  shown.className = `pill ${kind}`;
  if (shown.textContent !== text) shown.textContent = text;
}

function draw(now, before) {
  pill(now.ready ? "good" : "bad", now.ready ? "ready" : "not ready");
  for (const served of state.served) {
    const is = now.states[served.name];
    if (!is || (is.state === served.state && is.reason === served.reason)) continue;
    Object.assign(served, is);
    const dot = document.querySelector(`.served a[data-name="${CSS.escape(served.name)}"] .dot`);
    dot.className = `dot ${served.state}`;
    dot.title = `${served.state} ${served.reason}`.trim();
    if (served === state.chosen) tell(served);
  }
  showErrors(find("errors"), find("error-count"), now.errors ?? []);
  if (!state.chosen) return;
  showReplicas(find("replicas"), now.replicas ?? [], state.chosen.graph);
  const name = state.chosen.name;
  showDrift(find("drift"), now.drift?.[name]);
  const graph = now.graphs[name] ?? { nodes: {} };
  const nodes = withRates(graph.nodes ?? {}, before?.graphs[name]?.nodes ?? {}, now.time - (before?.time ?? 0));
  drawing.update(nodes, graph);
  table(nodes);
  tiles(graph, nodes);
}

// Rates that nobody counted, from the totals of two moments.
function withRates(nodes, before, seconds) {
  const found = {};
  for (const [path, node] of Object.entries(nodes)) {
    const earlier = before[path];
    const rate = earlier && seconds > 0 ? Math.max(0, node.rows - earlier.rows) / seconds : null;
    found[path] = { ...node, rows_per_s: node.rows_per_s ?? rate };
  }
  return found;
}

function table(nodes) {
  const rows = Object.entries(nodes).map(([path, node]) =>
    element("tr", {}, element("th", { scope: "row", class: "mono" }, path),
      ...[short(node.rows), short(node.rows_per_s), duration(node.seconds_per_row), short(node.failed_rows)].map((each) => element("td", {}, each))));
  find("nodes").tBodies[0].replaceChildren(...rows);
}

function tiles(graph, nodes) {
  const rate = graph.requests_per_s ?? null;
  const rows = graph.rows_per_s ?? Math.max(0, ...Object.values(nodes).map((node) => node.rows_per_s ?? 0));
  const failed = graph.failed_rows ?? Object.values(nodes).reduce((sum, node) => sum + (node.failed_rows ?? 0), 0);
  state.history.push(rate ?? rows);
  if (state.history.length > KEPT) state.history.shift();
  const shown = [
    rate === null ? null : ["requests/s", short(rate)],
    ["rows/s", short(rows)],
    graph.p50_s === undefined ? null : ["p50", duration(graph.p50_s)],
    graph.p99_s === undefined ? null : ["p99", duration(graph.p99_s)],
    ["rows waiting", short(graph.queued_rows ?? 0)],
    graph.batch_rows === undefined ? null : ["rows a batch", short(graph.batch_rows)],
    ["rows failed", short(failed)],
  ].filter((each) => each);
  const box = find("tiles");
  box.replaceChildren(...shown.map(([label, value]) => element("div", {}, element("dt", {}, label), element("dd", {}, value))));
  box.firstChild.append(sparkline(state.history));
}

function sparkline(values) {
  const most = Math.max(...values, 1e-9);
  const first = KEPT - values.length;
  const points = values.map((value, place) => `${((first + place) / (KEPT - 1)) * 100},${24 - (value / most) * 22}`).join(" ");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 26");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points);
  svg.append(line);
  return svg;
}

begin().catch((error) => {
  pill("bad", "not reachable");
  find("what").textContent = String(error);
});
