// The replicas of the models of a graph, in all processes of the server.

import { duration, element, short } from "./dom.js";

export function showReplicas(section, replicas, graph) {
  const mine = replicas.filter((each) => each.graphs.includes(graph));
  section.hidden = mine.length === 0;
  const several = new Set(mine.map((each) => each.process)).size > 1;
  const rows = mine.map((each) => {
    const here = each.kind === "thread"; // whose calls nobody counts one by one
    const name = several ? `${each.model} ${each.name} of ${each.process}` : `${each.model} ${each.name}`;
    const dot = element("span", { class: `dot ${each.state === "READY" ? "READY" : each.state === "FAILED" ? "UNAVAILABLE" : "LOADING"}` });
    const cells = [
      each.kind || "–",
      [dot, each.state.toLowerCase()],
      here ? "–" : short(each.in_flight),
      here ? "–" : short(each.calls),
      short(each.restarts),
      each.memory_bytes ? `${short(each.memory_bytes / 2 ** 20)} MiB` : "–",
      each.loading_s ? duration(each.loading_s) : "–",
      each.reason,
    ];
    return element("tr", {}, element("th", { scope: "row", class: "mono" }, name),
      ...cells.map((each) => element("td", {}, ...[each].flat())));
  });
  section.querySelector("tbody").replaceChildren(...rows);
}
