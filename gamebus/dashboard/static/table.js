// A table that sorts by any column. The order is the reader's, and stays when rows change.

import { html, useState } from "./vendor/htm-preact.js";

/**
 * columns: [{name, key, show(row), value(row), numeric, title}]; `value` is what it sorts by, `show` what it says.
 * rows need `id`.
 */
export function Table({ columns, rows, empty, caption, order }) {
  const [sorted, setSorted] = useState(order ?? null);
  const column = columns.find(({ key }) => key === sorted?.key);
  const shown = column ? [...rows].sort((a, b) => compare(column.value(a), column.value(b)) * (sorted.down ? -1 : 1)) : rows;
  const sort = (key, numeric) => setSorted((last) => ({ key, down: last?.key === key ? !last.down : Boolean(numeric) }));

  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}><table>
    <caption>${caption}</caption>
    <thead><tr>${columns.map(
      ({ key, name, numeric, title }) => html`
      <th scope="col" class=${numeric ? "number" : ""} aria-sort=${key !== sorted?.key ? "none" : sorted.down ? "descending" : "ascending"}>
        <button type="button" title=${title ?? `Sort by ${name}`} onClick=${() => sort(key, numeric)}>${name}<span aria-hidden="true">${
          key !== sorted?.key ? "" : sorted.down ? " ▾" : " ▴"
        }</span></button>
      </th>`,
    )}</tr></thead>
    <tbody>${shown.map(
      (row) =>
        html`<tr key=${row.id} class=${row.stale ? "stale" : ""}>${columns.map(
          ({ key, numeric, show, value }) => html`
      <td key=${key} class=${numeric ? "number" : ""}>${(show ?? value)(row)}</td>`,
        )}</tr>`,
    )}</tbody>
  </table></div>`;
}

function compare(a, b) {
  if (a == null || b == null) return a == null ? (b == null ? 0 : -1) : 1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}
