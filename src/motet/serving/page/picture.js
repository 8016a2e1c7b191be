// An input that is a picture: a file, or a drawing with the pointer.

import { element, getJson } from "./dom.js";

const SIDE = 280;
let names = null;

export class PictureField {
  constructor(input) {
    this.file = null;
    this.drawn = false;
    this.canvas = element("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": `Draw ${input.name} here with the pointer` });
    this.note = element("span", { class: "note", "aria-live": "polite" }, "Draw, drop a file here, or choose one.");
    this.samples = element("div", { class: "samples", role: "group", "aria-label": "Pictures to try" });
    const id = `file-${input.name}`;
    const chooser = element("input", { type: "file", id, accept: "image/*", onchange: () => this.take(chooser.files[0]) });
    this.chooser = chooser;
    this.node = element("div", { class: "picture" }, this.canvas,
      element("div", { class: "beside" }, chooser, element("label", { class: "button", for: id }, "Choose a file"),
        element("button", { type: "button", onclick: () => this.clear() }, "Clear"), this.note), this.samples);
    this.#listen();
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
    this.note.textContent = "Draw, drop a file here, or choose one.";
    this.#blank();
  }

  async take(file) {
    if (!file) return;
    Object.assign(this, { file, drawn: false });
    this.note.textContent = `${file.name}, ${file.size.toLocaleString()} bytes`;
    this.#blank();
    try {
      const image = await createImageBitmap(file);
      const scale = Math.min(SIDE / image.width, SIDE / image.height);
      const [width, height] = [image.width * scale, image.height * scale];
      this.pen.imageSmoothingEnabled = scale < 1;
      this.pen.drawImage(image, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
      this.note.textContent += `, ${image.width} × ${image.height}`;
    } catch {
      this.note.textContent += " (this browser cannot show it)";
    }
  }

  // Pictures that the server offers, where it has any.
  async #offer() {
    names ??= getJson("/samples.json").catch(() => []);
    this.samples.replaceChildren(...(await names).map((name) => {
      const address = `/samples/${encodeURIComponent(name)}`;
      const title = name.replace(/\.[^.]*$/, "");
      const choose = async () => this.take(new File([await (await fetch(address)).blob()], name));
      return element("button", { type: "button", title, "aria-label": title, onclick: choose }, element("img", { src: address, alt: "", loading: "lazy" }));
    }));
  }

  #blank() {
    this.pen = this.canvas.getContext("2d");
    this.pen.fillStyle = "#000";
    this.pen.fillRect(0, 0, SIDE, SIDE);
  }

  #listen() {
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
    canvas.addEventListener("dragover", (event) => {
      event.preventDefault();
      canvas.classList.add("over");
    });
    canvas.addEventListener("dragleave", () => canvas.classList.remove("over"));
    canvas.addEventListener("drop", (event) => {
      event.preventDefault();
      canvas.classList.remove("over");
      this.take(event.dataTransfer.files[0]);
    });
  }
}
