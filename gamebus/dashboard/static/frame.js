// What every page has around it: its heading, the age of its data, and what to say when there is none.

import { duration } from "./format.js";
import { html } from "./vendor/htm-preact.js";

export function Framed({ title, feed, children }) {
  const age = feed.page ? (feed.ageMs < 2000 ? "live" : `${duration(feed.ageMs / 1000)} old`) : "waiting for data";
  return html`
    <div class="heading"><h1>${title}</h1>
      <span class=${`age ${feed.stale ? "old" : ""}`} role="status">${feed.stale ? "▲ stale: " : "● "}${age}</span></div>
    ${
      !feed.redis &&
      html`<p class="banner" role="alert"><strong>Redis does not answer.</strong> ${feed.page ? "What you see is the last that it said. " : ""}
      It is asked again every second. <span class="detail">${feed.error}</span></p>`
    }
    ${feed.redis && feed.error && html`<p class="banner" role="alert">${feed.error}</p>`}
    <div class=${feed.stale ? "stale" : ""}>${feed.page ? children : html`<p class="empty">Waiting for the first frame …</p>`}</div>`;
}

export function Stat({ name, value, note, bad, title }) {
  return html`<div class=${`card stat ${bad ? "bad" : ""}`} title=${title}><dt>${name}</dt><dd>${bad ? "▲ " : ""}${value}</dd>
    ${note && html`<dd class="note">${note}</dd>`}</div>`;
}

export function Search({ label, text, onText }) {
  return html`<form class="search" role="search" onSubmit=${(event) => event.preventDefault()}>
    <label>${label} <input type="search" value=${text} maxlength="64" placeholder="press / to search"
      onInput=${(event) => onText(event.currentTarget.value)} /></label></form>`;
}
