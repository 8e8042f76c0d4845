// Words that show where the model looked for them: on hover, on focus, or until tapped again.
import { label, t } from "./i18n.js";

const OPACITY = 0.75;
const COLOURS = [
  [128, 0, 160],
  [235, 40, 20],
  [255, 230, 30],
]; // from weak to strong, as in the server's PNG

function colour(strength) {
  const at = Math.min(strength * (COLOURS.length - 1), COLOURS.length - 1);
  const low = Math.min(Math.floor(at), COLOURS.length - 2);
  return COLOURS[low].map((value, i) => value + (at - low) * (COLOURS[low + 1][i] - value));
}

// A canvas over the picture, one pixel a patch; the browser smooths it.
export class HeatMap {
  constructor(image) {
    this.image = image;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "heat";
    this.canvas.hidden = true;
    this.canvas.setAttribute("aria-hidden", "true");
    this.pinned = null;
    this.frame = document.createElement("div");
    this.frame.className = "frame";
    this.frame.append(image, this.canvas);
  }

  show(weights) {
    const side = weights.length;
    const largest = Math.max(...weights.flat()) || 1;
    const pixels = new ImageData(side, side);
    weights
      .flat()
      .forEach((weight, i) =>
        pixels.data.set([...colour(weight / largest), 255 * OPACITY * (weight / largest)], 4 * i),
      );
    Object.assign(this.canvas, { width: side, height: side });
    this.canvas.getContext("2d").putImageData(pixels, 0, 0);
    this.place();
    this.canvas.hidden = false;
  }

  // Where object-fit: contain has put the picture.
  place() {
    const { clientWidth, clientHeight, naturalWidth, naturalHeight, offsetLeft, offsetTop } =
      this.image;
    const scale = Math.min(clientWidth / naturalWidth, clientHeight / naturalHeight);
    const [width, height] = [naturalWidth * scale, naturalHeight * scale];
    Object.assign(this.canvas.style, {
      width: `${width}px`,
      height: `${height}px`,
      left: `${offsetLeft + (clientWidth - width) / 2}px`,
      top: `${offsetTop + (clientHeight - height) / 2}px`,
    });
  }

  hide() {
    this.canvas.hidden = true;
  }

  // What stays when nothing is pointed at.
  rest() {
    if (this.pinned) this.show(this.pinned.weights);
    else this.hide();
  }

  pin(button, weights) {
    this.pinned?.button.setAttribute("aria-pressed", "false");
    this.pinned = this.pinned?.button === button ? null : { button, weights };
    button.setAttribute("aria-pressed", String(this.pinned !== null));
    this.rest();
  }

  clear() {
    this.pinned = null;
    this.hide();
  }
}

// For those who do not see the map: the ninth of the picture with the largest weight.
function place(weights) {
  const flat = weights.flat();
  const at = flat.indexOf(Math.max(...flat));
  const ninth = (i) => Math.min(2, Math.floor((3 * (i + 0.5)) / weights.length));
  return "place" + ninth(Math.floor(at / weights.length)) + ninth(at % weights.length);
}

// Fills the element with words, one tab stop for all: the arrow keys go from word to word. shown:
// the words as the user wrote them.
export function showWords(element, map, words, name, shown = []) {
  const group = document.createElement("span");
  group.setAttribute("role", "group");
  label(group, "words", name);
  const buttons = words.map(({ word, weights }, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "word";
    button.textContent = shown.length === words.length ? shown[i] : word;
    button.tabIndex = i === 0 ? 0 : -1;
    button.dataset.title = place(weights);
    button.title = t(button.dataset.title);
    button.setAttribute("aria-pressed", "false");
    for (const event of ["pointerenter", "focus"])
      button.addEventListener(event, () => map.show(weights));
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => map.rest());
    button.addEventListener("click", () => map.pin(button, weights));
    return button;
  });
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = buttons[buttons.indexOf(document.activeElement) + (step ?? NaN)];
    if (!next) return;
    event.preventDefault();
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
    next.focus();
  });
  group.append(...buttons.flatMap((button, i) => (i ? [" ", button] : [button])));
  element.replaceChildren(group);
}
