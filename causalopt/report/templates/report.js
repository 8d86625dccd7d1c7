"use strict";
document.documentElement.classList.add("script");

// The meaning of a term, under the pointer or the keyboard's focus; Escape closes it.
const tip = document.getElementById("tip");
let term = null;
function hide() {
  term = null;
  tip.hidden = true;
}
function show(event) {
  const found = event.target.closest("a.term");
  if (!found) return;
  term = found;
  tip.textContent = document.getElementById(term.getAttribute("aria-describedby")).textContent;
  tip.hidden = false;
  beside();
}
function beside() {
  if (!term) return;
  const box = term.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  tip.style.left = Math.max(16, Math.min(box.left, width - tip.offsetWidth - 16)) + "px";
  const below = box.bottom + tip.offsetHeight < window.innerHeight;
  tip.style.top = (below ? box.bottom : Math.max(0, box.top - tip.offsetHeight)) + "px";
}
function leave(event) {
  if (!event.relatedTarget || !tip.contains(event.relatedTarget)) hide();
}
document.addEventListener("mouseover", show);
document.addEventListener("focusin", show);
document.addEventListener("mouseout", (event) => { if (event.target.closest("a.term, #tip")) leave(event); });
document.addEventListener("focusout", hide);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
document.addEventListener("scroll", beside, { passive: true, capture: true });

// Search and order of the samples, a page at a time.
const list = document.querySelector(".samples");
if (list) {
  const PAGE = 10;
  const all = [...list.children];
  const words = all.map((item) => item.textContent.toLowerCase());
  const search = document.getElementById("search");
  const order = document.getElementById("order");
  const more = document.querySelector(".more");
  const count = document.getElementById("count");
  let shown = PAGE;
  function place() {
    const wanted = search.value.trim().toLowerCase();
    const [key, sign] = order.value.split(" ");
    const found = all.filter((item, i) => words[i].includes(wanted));
    const number = (item) => (item.dataset[key] === "" ? NaN : Number(item.dataset[key]));
    found.sort((a, b) => {
      const [x, y] = [number(a), number(b)];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return sign === "up" ? x - y : y - x;
    });
    const visible = found.slice(0, shown);
    list.replaceChildren(...visible);
    more.hidden = visible.length === found.length;
    count.textContent = `${visible.length} of ${found.length} shown`;
    return visible;
  }
  const restart = () => { shown = PAGE; place(); };
  search.addEventListener("input", restart);
  order.addEventListener("change", restart);
  more.addEventListener("click", () => {
    const before = shown;
    shown += PAGE;
    const visible = place();
    visible[before].focus();
  });
  place();
}
