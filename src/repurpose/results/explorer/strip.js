// A strip of a whole text's projections: a bar for each token or, where there are more than pixels, the largest of some.

import { deviations, el } from "./text.js";
import { FULL } from "./tokens.js";

const LIMIT = 4; // standard deviations at the strip's edge; what is more is cut there

/** A slider whose picture is the strip; `jump(token)` is called where one clicks or moves along it. */
export function strip({ values, deviation, behaviour, jump }) {
  const canvas = el("canvas", {
    class: "strip",
    role: "slider",
    tabindex: 0,
    "aria-label": "Projection along the text",
    "aria-valuemin": 0,
    "aria-valuemax": Math.max(0, values.length - 1),
    "aria-valuenow": 0,
  });
  let here = 0;

  function draw() {
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    const colours = getComputedStyle(canvas);
    const colour = (name) => colours.getPropertyValue(`--${name}`).trim();
    pen.scale(scale, scale);
    const across = width / Math.max(1, values.length);
    const middle = height / 2;
    pen.fillStyle = colour("behaviour-back");
    for (const { start, end } of behaviour)
      pen.fillRect(start * across, 0, Math.max(2, (end - start) * across), height);
    pen.fillStyle = colour("line");
    pen.fillRect(0, middle, width, 1);
    for (const side of [-1, 1]) pen.fillRect(0, middle + (side * FULL * middle) / LIMIT, width, 1);
    const columns = Math.min(values.length, Math.max(1, Math.floor(width)));
    for (let column = 0; column < columns; column += 1) {
      const from = Math.floor((column * values.length) / columns);
      const to = Math.max(from + 1, Math.floor(((column + 1) * values.length) / columns));
      let largest = 0;
      for (let token = from; token < to; token += 1)
        if (Math.abs(values[token]) > Math.abs(largest)) largest = values[token];
      const size = (Math.min(Math.abs(largest) / deviation, LIMIT) / LIMIT) * (middle - 1);
      pen.fillStyle = colour(largest < 0 ? "low" : "high");
      pen.fillRect(
        (column * width) / columns,
        largest < 0 ? middle : middle - size,
        Math.max(1, width / columns - 0.4),
        size,
      );
    }
    pen.fillStyle = colour("ink");
    pen.fillRect(Math.min(width - 2, here * across), 0, 2, height);
  }

  function move(token, tell) {
    here = Math.min(values.length - 1, Math.max(0, token));
    canvas.setAttribute("aria-valuenow", here);
    canvas.setAttribute(
      "aria-valuetext",
      `token ${here}, ${deviations(values[here] / deviation)}`,
    );
    draw();
    if (tell) jump(here);
  }

  canvas.addEventListener("click", (event) =>
    move(Math.floor((event.offsetX / canvas.clientWidth) * values.length), true),
  );
  canvas.addEventListener("keydown", (event) => {
    const page = Math.ceil(values.length / 10);
    const steps = {
      ArrowRight: 1,
      ArrowLeft: -1,
      PageDown: page,
      PageUp: -page,
      Home: -values.length,
      End: values.length,
    };
    if (!Object.hasOwn(steps, event.key)) return;
    event.preventDefault();
    move(here + steps[event.key], true);
  });
  new ResizeObserver(draw).observe(canvas);
  for (const media of ["(prefers-color-scheme: dark)", "print"]) matchMedia(media).addEventListener("change", draw);
  return { node: el("div", { class: "strip-box" }, axis(), canvas), move };
}

/** What the heights of the strip mean. */
function axis() {
  const marks = [
    [FULL, `+${FULL} sd`],
    [0, "mean"],
    [-FULL, `−${FULL} sd`],
  ].map(([height, words]) => {
    const node = el("span", {}, words);
    node.style.top = `${50 - (50 * height) / LIMIT}%`;
    return node;
  });
  return el("div", { class: "axis soft", "aria-hidden": "true" }, ...marks);
}
