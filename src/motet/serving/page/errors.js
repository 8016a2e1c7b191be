// The error log, the last one first.

import { element } from "./dom.js";

export function showErrors(table, count, errors) {
  const key = errors.length ? `${errors.length} ${errors[0].time}` : "";
  if (table.dataset.key === key) return;
  table.dataset.key = key;
  count.textContent = errors.length || "";
  const rows = together(errors).map(([each, times]) => {
    const when = new Date(each.time * 1000);
    const rows = each.rows > 1 ? ` (${each.rows} rows)` : "";
    const id = each.id ? ` [${each.id}]` : "";
    return element("tr", {},
      element("td", { title: when.toISOString() }, when.toLocaleTimeString()),
      element("td", {}, each.graph ?? ""),
      element("td", {}, each.node ?? ""),
      element("td", {}, (each.error ?? "") + (times > 1 ? ` × ${times}` : "")),
      element("td", {}, (each.message ?? "what it said is for administrators: motet status") + rows + id));
  });
  const none = element("tr", { class: "none" }, element("td", { colspan: 5 }, "none"));
  table.tBodies[0].replaceChildren(...(rows.length ? rows : [none]));
}

// Errors that say the same, one after another, are one line with how many they are.
function together(errors) {
  const found = [];
  let before = null;
  for (const each of errors) {
    const said = JSON.stringify([each.graph, each.node, each.error, each.message, each.id]);
    if (said === before) found.at(-1)[1] += 1;
    else found.push([each, 1]);
    before = said;
  }
  return found;
}
