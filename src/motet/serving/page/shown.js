// Pictures in an answer: pixels, the files of pictures, and boxes over the picture that was asked about.

import { element } from "./dom.js";

const FILES = { iVBORw0KGgo: "png", "/9j/": "jpeg", R0lGOD: "gif", UklGR: "webp", Qk: "bmp" };
const SMALL = 128; // pixels of a side up to which they are shown as squares
const LEAST = 8; // of a side of what nobody has said to be a picture
const COLOURS = ["#ff5d5d", "#35b6ff", "#ffc233", "#4fd67c", "#d58bff", "#ff8f3d"];

const isNumbers = (value) => Array.isArray(value) && value.every((each) => typeof each === "number");

// The node of a value that is a picture, null for any other.
export function pictureNode(name, value, about) {
  if (typeof value === "string" && ["bytes", "any"].includes(about.dtype)) return fileNode(name, value);
  const grey = Array.isArray(value) && value.length > 0 && value.every(isNumbers) && value.every((row) => row.length === value[0].length);
  if (about.picture && value.length && value[0].length) return pixels(name, grey ? value : value.map((row) => row.map((each) => (each.length === 1 ? each[0] : each))));
  const looks = grey && value.length >= LEAST && value[0].length >= LEAST && value.every((row) => row.every((each) => each >= 0 && each <= 255));
  return looks ? pixels(name, value) : null;
}

function fileNode(name, text) {
  const begins = text.length > 60 ? Object.keys(FILES).find((each) => text.startsWith(each)) : null;
  if (!begins) return null;
  return element("img", { class: "shown", src: `data:image/${FILES[begins]};base64,${text}`, alt: `${name}, a picture` });
}

function pixels(name, rows) {
  const [height, width] = [rows.length, rows[0].length];
  const canvas = element("canvas", { class: `shown${Math.max(height, width) <= SMALL ? " small" : ""}`, width, height, role: "img", "aria-label": `${name}, a picture` });
  const image = new ImageData(width, height);
  const scale = isNumbers(rows[0]) && rows.every((row) => row.every((each) => each <= 1)) ? 255 : 1;
  rows.flat().forEach((value, place) => {
    const [red, green, blue, alpha = 255] = typeof value === "number" ? [value * scale, value * scale, value * scale] : value;
    image.data.set([red, green, blue, alpha], place * 4);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Whether an output is boxes, as `motet.ops.image.crop` takes them: left, top, right and bottom.
export function isBoxes(name, value, about) {
  const isOne = isNumbers(value) && value.length === 4 && /box/i.test(name);
  const isList = Array.isArray(value) && (about.shape?.length ?? 2) === 2 && value.length > 0 && value.every((each) => isNumbers(each) && each.length === 4);
  const listed = isOne ? [value] : isList && about.shape?.[1] === 4 ? value : [];
  return listed.length > 0 && listed.every(([left, top, right, bottom]) => left <= right && top <= bottom);
}

// The picture that was asked about, with boxes and their names; boxes within 0 and 1 are parts of it.
export function boxedNode({ name, value, about }, picture, names) {
  const boxes = isNumbers(value) ? [value] : value;
  const said = `${about.name ?? name}: ${boxes.map((box, place) => `${names?.[place] ?? place + 1} at ${box.map((each) => Number(each.toPrecision(4))).join(", ")}`).join("; ")}`;
  const canvas = element("canvas", { class: "shown boxed", role: "img", "aria-label": said, title: said });
  draw(canvas, boxes, picture, names).catch(() => canvas.replaceWith(element("pre", {}, JSON.stringify(boxes))));
  return canvas;
}

async function draw(canvas, boxes, { file, input }, names) {
  const image = await createImageBitmap(file);
  const [height, width] = [input.shape[0] ?? image.height, input.shape[1] ?? image.width]; // as the graph saw it
  const zoom = Math.max(1, 480 / Math.max(image.width, image.height));
  [canvas.width, canvas.height] = [image.width * zoom, image.height * zoom];
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  const isPart = boxes.every((box) => box.every((each) => each >= 0 && each <= 1));
  const [across, down] = [canvas.width / (isPart ? 1 : width), canvas.height / (isPart ? 1 : height)];
  const size = Math.max(12, canvas.width / 40);
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.lineWidth = Math.max(2, canvas.width / 250);
  boxes.forEach(([left, top, right, bottom], place) => {
    const colour = COLOURS[place % COLOURS.length];
    const [x, y] = [left * across, top * down];
    Object.assign(pen, { strokeStyle: colour, fillStyle: colour });
    pen.strokeRect(x, y, (right - left) * across, (bottom - top) * down);
    const text = names ? names[place] ?? "" : String(place + 1);
    const [wide, above] = [pen.measureText(text).width + size * 0.6, y >= size * 1.4 ? y - size * 1.4 : y];
    pen.fillRect(x, above, wide, size * 1.4);
    pen.fillStyle = "#101318";
    pen.fillText(text, x + size * 0.3, above + size * 1.05);
  });
  canvas.dataset.boxes = String(boxes.length);
}
