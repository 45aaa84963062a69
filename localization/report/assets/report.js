"use strict";
// Sorting: a click (or Enter) on a heading sorts the rows within each block of its table.
// First ascending, then descending, then as they came. Undefined figures stand last.
function compareCells(a, b) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const x = Number(a), y = Number(b);
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
}

function sortTable(table, column, order) {
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("block"));
    rows.forEach((row, i) => { row.dataset.place ??= String(i); });
    const value = (row) => row.cells[column].dataset.value;
    rows.sort((r, s) => {
      const found = compareCells(value(r), value(s));
      const empty = value(r) === "" || value(s) === "";
      const place = Number(r.dataset.place) - Number(s.dataset.place);
      if (order === "none") return place;
      return (order === "descending" && !empty ? -found : found) || place;
    });
    body.append(...rows);
  }
}

for (const table of document.querySelectorAll("table[data-table]")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" };
      const order = next[heading.getAttribute("aria-sort")] ?? "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      if (order !== "none") heading.setAttribute("aria-sort", order);
      sortTable(table, column, order);
    });
  });
}

// Paper cannot be unfolded: what is folded is opened for printing, then folded again.
let folded = [];
window.addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((details) => { details.open = true; });
});
window.addEventListener("afterprint", () => {
  folded.forEach((details) => { details.open = false; });
});

// A link into a folded part unfolds it, and what is folded around it. Browsers do this by
// themselves since 2022 to 2025; older ones need it said.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  let closed = target.closest("details:not([open])");
  if (!closed) return;
  for (; closed; closed = closed.parentElement.closest("details:not([open])")) closed.open = true;
  target.scrollIntoView();
}
window.addEventListener("hashchange", reveal);
reveal();

const parts = [...document.querySelectorAll("details.part")];
const unfold = document.querySelector("button.unfold");
unfold.hidden = false;
unfold.addEventListener("click", () => {
  const open = parts.some((part) => !part.open);
  parts.forEach((part) => { part.open = open; });
  unfold.textContent = open ? "Fold all" : "Unfold all";
});
