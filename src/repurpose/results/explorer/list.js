// A list of any length of which only the rows in sight are elements; all rows are equally high.

import { el } from "./text.js";

const BEYOND = 6;

/**
 * A listbox: `draw(item)` gives a row's children, `choose(place)` is called for the row that the arrow keys lead to,
 * `open(place)` for one that is clicked or entered; left out, it is the same.
 */
export function virtualList({ words, items, height, draw, choose, open = choose, chosen }) {
  const space = el("div", { class: "space" });
  const box = el("div", { class: "list", role: "listbox", tabindex: 0, "aria-label": words }, space);
  let drawn = [-1, -1];
  space.style.height = `${items.length * height}px`;

  function row(place) {
    const node = el(
      "div",
      {
        class: place === chosen ? "row chosen" : "row",
        role: "option",
        id: `${words}-${place}`.replace(/\W/g, "-"),
        "aria-selected": String(place === chosen),
        "aria-setsize": items.length,
        "aria-posinset": place + 1,
        onclick: () => open(place),
      },
      ...draw(items[place]),
    );
    node.style.transform = `translateY(${place * height}px)`;
    node.style.height = `${height}px`;
    return node;
  }

  function update(anew = false) {
    const from = Math.max(0, Math.floor(box.scrollTop / height) - BEYOND);
    const to = Math.min(items.length, Math.ceil((box.scrollTop + box.clientHeight) / height) + BEYOND);
    if (!anew && from === drawn[0] && to === drawn[1]) return;
    const kept = new Map(
      anew ? [] : [...space.children].map((node) => [Number(node.getAttribute("aria-posinset")) - 1, node]),
    );
    const wanted = [];
    for (let place = from; place < to; place += 1) wanted.push(kept.get(place) ?? row(place));
    space.replaceChildren(...wanted);
    drawn = [from, to];
  }

  function select(place, scroll = true) {
    chosen = place;
    if (scroll && place >= 0) {
      const top = place * height;
      if (top < box.scrollTop) box.scrollTop = top;
      else if (top + height > box.scrollTop + box.clientHeight) box.scrollTop = top + height - box.clientHeight;
    }
    update(true);
    const node = [...space.children].find((one) => one.classList.contains("chosen"));
    if (node) box.setAttribute("aria-activedescendant", node.id);
    else box.removeAttribute("aria-activedescendant");
  }

  box.addEventListener("scroll", () => update(), { passive: true });
  box.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(box.clientHeight / height) - 1);
    if (event.key === "Enter" && event.target === box && chosen >= 0) open(chosen);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -items.length, End: items.length };
    if (!Object.hasOwn(steps, event.key) || items.length === 0) return;
    event.preventDefault();
    choose(Math.min(items.length - 1, Math.max(0, chosen + steps[event.key])));
  });
  new ResizeObserver(() => update()).observe(box);
  return { box, select };
}
