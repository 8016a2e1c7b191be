// The error log, the last one first.

import { element } from "./dom.js";

export function showErrors(table, count, errors) {
  const key = errors.length ? `${errors.length} ${errors[0].time}` : "";
  if (table.dataset.key === key) return;
  table.dataset.key = key;
  count.textContent = errors.length || "";
  const rows = errors.map((each) =>
    element("tr", {},
      element("td", { title: new Date(each.time * 1000).toISOString() }, new Date(each.time * 1000).toLocaleTimeString()),
      element("td", {}, each.graph ?? ""),
      element("td", {}, each.node ?? ""),
      element("td", {}, each.error ?? ""),
      element("td", {}, (each.message ?? "") + (each.rows > 1 ? ` (${each.rows} rows)` : "") + (each.id ? ` [${each.id}]` : ""))));
  table.tBodies[0].replaceChildren(...(rows.length ? rows : [element("tr", { class: "none" }, element("td", { colspan: 5 }, "none"))]));
}
