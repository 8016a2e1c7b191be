// An input that is a picture: a file, or a drawing with the pointer.

import { ROOT, element, getJson } from "./dom.js";

const SIDE = 280;
const DRAWN = 64; // pixels of a side up to which a picture can be drawn by hand
let names = null;

// Whether it makes sense to draw an input: small, of a known size, and grey.
function isSmall({ shape: [height, width, channels = 1] }) {
  return height !== null && width !== null && channels === 1 && Math.max(height, width) <= DRAWN;
}

export class PictureField {
  constructor(input) {
    this.pad = isSmall(input);
    Object.assign(this, { file: null, drawn: false, says: this.pad ? "Draw, drop a file here, or choose one." : "PNG, JPEG, WebP, GIF, BMP, TIFF" });
    this.canvas = element("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": this.pad ? `Draw ${input.name} here with the pointer` : `${input.name}, the picture that is sent` });
    this.note = element("span", { class: "note", "aria-live": "polite" }, this.says);
    this.samples = element("div", { class: "samples", role: "group", "aria-label": "Pictures to try" });
    const id = `file-${input.name}`;
    this.chooser = element("input", { type: "file", id, accept: "image/*", onchange: () => this.take(this.chooser.files[0]) });
    const choose = element("label", { class: "button", for: id }, "Choose a file");
    const clear = element("button", { type: "button", onclick: () => this.clear() }, "Clear");
    this.node = this.pad
      ? element("div", { class: "picture" }, this.canvas, element("div", { class: "beside" }, this.chooser, choose, clear, this.note), this.samples)
      : element("div", { class: "picture" }, element("div", { class: "zone" }, element("b", {}, "Drop a photograph here"), this.canvas,
        element("div", { class: "beside" }, this.chooser, choose, clear, this.note)), this.samples);
    if (this.pad) this.#draw();
    this.#takeDrops(this.pad ? this.canvas : this.node.querySelector(".zone"));
    this.#blank();
    this.#offer();
  }

  // What is sent: the file as it is, or the drawing as PNG; null for neither.
  async value() {
    if (this.file) return this.file;
    if (!this.drawn) return null;
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }

  clear() {
    Object.assign(this, { file: null, drawn: false });
    this.chooser.value = "";
    this.note.textContent = this.says;
    this.#blank();
  }

  async take(file) {
    if (!file) return;
    Object.assign(this, { file, drawn: false });
    this.note.textContent = `${file.name}, ${file.size.toLocaleString()} bytes`;
    this.#blank();
    this.node.classList.add("filled");
    try {
      const image = await createImageBitmap(file);
      const scale = Math.min((this.pad ? SIDE : 2 * SIDE) / image.width, SIDE / image.height);
      const [width, height] = [Math.max(1, image.width * scale), Math.max(1, image.height * scale)];
      if (!this.pad) Object.assign(this.canvas, { width, height });
      this.pen.imageSmoothingEnabled = scale < 1;
      this.pen.drawImage(image, (this.canvas.width - width) / 2, (this.canvas.height - height) / 2, width, height);
      this.note.textContent += `, ${image.width} × ${image.height}`;
    } catch {
      this.node.classList.remove("filled");
      this.note.textContent += " (this browser cannot show it)";
    }
  }

  // Pictures that the server offers, where it has any.
  async #offer() {
    names ??= getJson("/samples.json").catch(() => []);
    this.samples.replaceChildren(...(await names).map((name) => {
      const address = `${ROOT}/samples/${encodeURIComponent(name)}`;
      const title = name.replace(/\.[^.]*$/, "");
      const choose = async () => this.take(new File([await (await fetch(address)).blob()], name));
      return element("button", { type: "button", title, "aria-label": title, onclick: choose }, element("img", { src: address, alt: "", loading: "lazy" }));
    }));
  }

  #blank() {
    this.node.classList.remove("filled");
    this.pen = this.canvas.getContext("2d");
    this.pen.fillStyle = "#000";
    this.pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  #draw() {
    const canvas = this.canvas;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
    };
    let last = null;
    const draw = (event) => {
      const [x, y] = at(event);
      Object.assign(this.pen, { strokeStyle: "#fff", lineWidth: 20, lineCap: "round", lineJoin: "round" });
      this.pen.beginPath();
      this.pen.moveTo(...(last ?? [x, y]));
      this.pen.lineTo(x, y);
      this.pen.stroke();
      last = [x, y];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      if (this.file) this.clear();
      this.drawn = true;
      this.note.textContent = "What you draw is sent as a picture.";
      draw(event);
    });
    canvas.addEventListener("pointermove", (event) => last && draw(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (last = null));
  }

  #takeDrops(zone) {
    zone.addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      this.take(event.dataTransfer.files[0]);
    });
  }
}
