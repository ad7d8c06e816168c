"use strict";
(() => {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  // A file opened from disk may have no storage: the choice then lasts as long as the page.
  const remember = (theme) => { try { localStorage.setItem("binder-observe-theme", theme); } catch {} };
  try { const kept = localStorage.getItem("binder-observe-theme"); if (kept) root.dataset.theme = kept; } catch {}

  const value = (cell) => cell.dataset.value ?? cell.firstChild?.textContent.trim() ?? "";
  const missing = (text) => text === "" || text === "-";
  const collator = new Intl.Collator("en", { numeric: true });

  function sort(table, column, descending) {
    const rows = Array.from(table.tBodies[0].rows, (row) => ({ row, text: value(row.cells[column]) }));
    const numbers = rows.every(({ text }) => missing(text) || !isNaN(text));
    const order = numbers ? (a, b) => a - b : collator.compare;
    rows.sort((a, b) => {
      // what is not known goes last, whichever way
      if (missing(a.text) || missing(b.text)) return missing(a.text) - missing(b.text);
      return descending ? order(b.text, a.text) : order(a.text, b.text);
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
    for (const header of table.tHead.rows[0].cells) header.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const table of document.querySelectorAll("table.sortable")) {
      Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
        const button = document.createElement("button");
        button.type = "button";
        button.append(...header.childNodes);
        header.append(button);
        button.addEventListener("click", () => {
          const before = header.getAttribute("aria-sort");
          // figures are most wanted largest first, names from A on
          sort(table, column, before ? before === "ascending" : header.classList.contains("n"));
        });
      });
    }
    const toggle = document.getElementById("theme");
    const label = () => { toggle.textContent = dark() ? "Light" : "Dark"; toggle.setAttribute("aria-label", `${toggle.textContent} colours`); };
    toggle.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; remember(root.dataset.theme); label(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
    toggle.hidden = false;
    label();
  });
})();
