// The drawing of a graph, and the numbers of its nodes under their boxes. It stands in a shadow tree, since it brings
// a style sheet of its own.

import { ROOT, duration, short } from "./dom.js";

const STYLE = `
  :host { display: block; }
  svg { display: block; width: 100%; height: auto; min-width: var(--smallest); }
  @media (max-width: 60rem) { :host(:not(.large)) svg { min-width: 0; } }
  .live { font-size: 10.5px; fill: #5c6675; text-anchor: middle; }
  .live.on { fill: #5b4bc4; font-weight: 600; }
  .live.bad { fill: #b3261e; }
  @media (prefers-color-scheme: dark) {
    .live { fill: #a3adbb; } .live.on { fill: #a99df5; } .live.bad { fill: #ff9d94; }
  }`;

const SMALLEST = 0.72; // of its own size: below it cannot be read, and is moved sideways instead

export class Drawing {
  constructor(host) {
    this.root = host.attachShadow({ mode: "open" });
    this.boxes = new Map();
  }

  async show(name) {
    this.name = name;
    const answer = await fetch(`${ROOT}/graphs/${encodeURIComponent(name)}.svg`);
    const text = await answer.text();
    if (name !== this.name || !answer.ok) return;
    const svg = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    const width = Number(svg.getAttribute("width"));
    svg.style.maxWidth = `${width}px`;
    svg.style.setProperty("--smallest", `${SMALLEST * width}px`);
    svg.removeAttribute("width");
    svg.removeAttribute("height");
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.root.replaceChildren(style, svg);
    this.boxes = new Map();
    for (const group of svg.querySelectorAll("g[data-node]")) {
      if (group.dataset.kind === "output") continue;
      const box = group.querySelector("rect");
      const [x, y, width, height] = ["x", "y", "width", "height"].map((each) => Number(box.getAttribute(each)));
      const text = document.createElementNS("http://www.w3.org/2000/svg", "text");
      text.setAttribute("x", x + width / 2);
      text.setAttribute("y", y + height + 14);
      text.setAttribute("class", "live");
      group.append(text);
      this.boxes.set(group.dataset.node, { text, kind: group.dataset.kind });
    }
  }

  update(nodes, graph) {
    let first = true;
    for (const [name, { text, kind }] of this.boxes) {
      const node = nodes[name];
      if (kind === "input" && first) this.#input(text, graph);
      else if (node) this.#node(text, node);
      first = false;
    }
  }

  #input(text, graph) {
    const waiting = graph.queued_rows ?? 0;
    const rate = graph.rows_per_s; // as the nodes say it
    const parts = [rate === undefined ? "" : `${short(rate)} rows/s`, waiting ? `${short(waiting)} waiting` : ""];
    text.textContent = parts.filter((each) => each).join(" · ");
    text.setAttribute("class", `live${rate > 0 || waiting ? " on" : ""}`);
  }

  #node(text, node) {
    const rate = node.rows_per_s === null ? `${short(node.rows)} rows` : `${short(node.rows_per_s)} rows/s`;
    const cost = node.seconds_per_row === null ? "" : ` · ${duration(node.seconds_per_row)}`;
    const failed = node.failed_rows ? ` · ${short(node.failed_rows)} failed` : "";
    text.textContent = rate + cost + failed;
    text.setAttribute("class", `live${node.failed_rows ? " bad" : node.rows_per_s > 0 ? " on" : ""}`);
  }
}
