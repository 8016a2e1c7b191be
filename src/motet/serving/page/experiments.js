// The experiments of a graph: what each arm came to so far, and what to do now.

import { element, getJson, short } from "./dom.js";

const EVERY_MS = 10_000;
let shown = "";
let asked = 0;

// Ask for the experiments of a graph, where it has some, and show them; not again before a while is over.
export async function showExperiments(section, served) {
  if (!served.experiment) {
    section.hidden = true;
    shown = "";
    return;
  }
  if (served.name === shown && Date.now() - asked < EVERY_MS) return;
  if (served.name !== shown) section.hidden = true;
  shown = served.name;
  asked = Date.now();
  try {
    const { experiments } = await getJson(`/experiments/${encodeURIComponent(served.name)}`);
    if (served.name !== shown) return;
    section.querySelector(".experiments").replaceChildren(...experiments.flatMap(experiment));
    section.hidden = false;
  } catch {
    section.hidden = true; // who looks may not ask
  }
}

function experiment({ report, decision }) {
  const head = ["arm", "now", "units", "outcomes", report.metric, `beside ${report.control}`, ""];
  const rows = report.arms.map((arm) => row(arm, report.comparisons.find((each) => each.arm === arm.name)));
  const last = decision && `Last decision: ${decision.action} ${decision.arm}, ${new Date(decision.time * 1000).toLocaleString()}` +
    `${decision.why ? `; ${decision.why}` : ""}`;
  return [
    element("h3", {}, report.node),
    element("p", { class: "sentence" }, report.sentence),
    element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Arms of ${report.node}` }, element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((each) => element("th", { scope: "col" }, each)))),
      element("tbody", {}, ...rows))),
    last ? element("p", { class: "quiet" }, last) : null,
  ].filter((each) => each);
}

function row(arm, beside) {
  const broken = (beside?.guardrails ?? []).filter((each) => each.state === "broken").map((each) => each.name);
  const verdict = broken.length ? `breaks the guardrail of ${broken.join(", ")}` : beside?.verdict ?? "control";
  const cells = [percent(arm.weight), short(arm.units), short(arm.outcomes), between(arm.metric, number), lift(beside), verdict];
  return element("tr", {}, element("th", { scope: "row", class: "mono" }, arm.name), ...cells.map((each) => element("td", {}, each)));
}

function lift(beside) {
  return beside ? between(beside.lift, (value) => `${value > 0 ? "+" : ""}${percent(value)}`) : "–";
}

function between({ value, low, high }, say) {
  if (value === null) return "–";
  return low === null || high === null ? say(value) : `${say(value)} (${say(low)} to ${say(high)})`;
}

function number(value) {
  return String(Number(value.toPrecision(3)));
}

function percent(value) {
  return `${Number((value * 100).toPrecision(3))} %`;
}
