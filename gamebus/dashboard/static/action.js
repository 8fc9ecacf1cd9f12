// An action on a player or a gateway: a button, and a question before it is asked for.

import { html, useRef, useState } from "./vendor/htm-preact.js";

/** `minutes` true asks for how long. */
export function Action({ action, target, name, label, explains, minutes }) {
  const dialog = useRef(null);
  const [said, setSaid] = useState(null);

  const ask = async (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const response = await fetch("/api/actions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ action, target, reason: form.get("reason"), minutes: Number(form.get("minutes") ?? 0) }),
    });
    const answer = await response.json();
    setSaid(response.ok ? null : answer.error);
    if (response.ok) dialog.current.close();
  };

  return html`<button type="button" onClick=${() => dialog.current.showModal()} aria-label=${`${label} ${name}`}>${label} …</button>
    <dialog ref=${dialog} aria-label=${`${label} ${name}`}><form onSubmit=${ask}>
      <h2>${label} ${name}?</h2>
      <p>${explains}</p>
      ${minutes && html`<label>Minutes <input name="minutes" type="number" min="1" max="43200" value="10" required /></label>`}
      <label>Reason <input name="reason" required maxlength="200" autocomplete="off" /></label>
      ${said && html`<p class="banner" role="alert">${said}</p>`}
      <div class="switch"><button type="submit">${label}</button>
        <button type="button" onClick=${() => dialog.current.close()}>Leave it</button></div>
    </form></dialog>`;
}
