"use strict";
// On a phone the contents stand above the text: folded, so that the faults come first.
const contents = document.querySelector("nav details");
if (matchMedia("(max-width: 60rem)").matches) contents.open = false;

const body = document.querySelector("#table-quality tbody");
const heads = [...document.querySelectorAll("#table-quality thead th")];

function compare(a, b) {
  const [x, y] = [parseFloat(a), parseFloat(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
}

function sort(column, direction) {
  const key = (row) => row.cells[column].textContent.replace("\u2212", "-");
  const missing = (text) => text === "n/a" || text === "";
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    // What is missing stays at the end, whichever way the rest runs.
    return missing(x) || missing(y) ? missing(x) - missing(y) : direction * compare(x, y);
  });
  body.append(...rows);
}

heads.forEach((head, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  head.replaceChildren(button);
  button.addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    sort(column, ascending ? 1 : -1);
  });
});
