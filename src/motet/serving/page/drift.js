// Drift of the graph that was chosen: for each column how rows were spread then, and how they are now.

import { element, short } from "./dom.js";

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 100;
const HEIGHT = 40;

export function showDrift(section, found) {
  section.hidden = !found;
  if (!found) return;
  const drifted = found.columns.filter((each) => each.drifted).length;
  const hours = found.window_s >= 3600 ? `${Number((found.window_s / 3600).toPrecision(2))} h` : `${Math.max(1, Math.round(found.window_s / 60))} min`;
  const what = drifted ? `${drifted} of ${found.columns.length} have drifted` : "nothing has drifted beyond chance";
  const count = section.querySelector("h2 span");
  count.className = drifted ? "count" : "quiet";
  count.textContent = `${what} in the last ${hours}`;
  const order = [...found.columns].sort((one, other) => other.drifted - one.drifted || other.psi - one.psi);
  section.querySelector(".charts").replaceChildren(...order.map(column));
}

function column(each) {
  const name = element("span", { class: each.drifted ? "drifted" : "" }, each.name);
  const said = each.rows ? `PSI ${each.psi.toFixed(3)}, by chance ${each.by_chance.toFixed(3)}; ${short(each.rows)} rows` : "no rows yet";
  return element("figure", {}, element("figcaption", {}, name), bars(each), element("p", { class: "quiet" }, said));
}

function bars({ bars: shares, name, rows }) {
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "then-now", role: "img", "aria-label": `${name}: then and now` });
  const most = Math.max(1e-9, ...shares.flatMap(([, was, now]) => [was, now]));
  const step = WIDTH / Math.max(1, shares.length);
  shares.forEach(([bin, was, now], place) => {
    const sides = [["was", was, 0.08], ["now", rows ? now : 0, 0.5]];
    for (const [kind, share, at] of sides) {
      const height = (HEIGHT * share) / most;
      const bar = shape("rect", { class: kind, x: step * (place + at), y: HEIGHT - height, width: step * 0.4, height });
      const title = shape("title", {});
      title.textContent = `${bin}: ${(100 * was).toFixed(1)} %, now ${(100 * now).toFixed(1)} %`;
      bar.append(title);
      svg.append(bar);
    }
  });
  return svg;
}

function shape(name, attributes) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
