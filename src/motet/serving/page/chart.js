// Areas over the last minutes, one upon another, as a small picture without axes: what they are stands beside it.

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 100;
const HEIGHT = 40;

function shape(name, attributes) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// layers: for each what its parts were at each moment, `[{ colour, values }]`; kept: how many moments are shown; most: the top.
export function areas(layers, { kept, most, line = null, label }) {
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "areas", role: "img", "aria-label": label });
  const top = Math.max(most, 1e-9) * 1.05;
  const count = layers[0]?.values.length ?? 0;
  const x = (moment) => ((kept - count + moment) / kept) * WIDTH;
  const y = (value) => HEIGHT - (Math.min(value, top) / top) * HEIGHT;
  const below = new Array(count).fill(0);
  for (const { colour, values } of layers) {
    const upper = [];
    const lower = [];
    values.forEach((value, moment) => {
      const base = below[moment];
      below[moment] += value;
      for (const side of [moment, moment + 1]) { // steps: what was seen held until the next look
        upper.push(`${x(side)},${y(below[moment])}`);
        lower.push(`${x(side)},${y(base)}`);
      }
    });
    svg.append(shape("polygon", { points: [...upper, ...lower.reverse()].join(" "), class: `fill-${colour}` }));
  }
  if (line !== null) svg.append(shape("line", { x1: 0, x2: WIDTH, y1: y(line), y2: y(line), class: "limit" }));
  return svg;
}
