// For operators only: a password, or a token of `gamebus token --role operator`.

import { html, useState } from "../vendor/htm-preact.js";

export function SignIn({ done }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);

  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    const secret = new FormData(event.currentTarget).get("secret");
    const response = await fetch("/sign-in", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ secret }),
    });
    const answer = await response.json();
    setBusy(false);
    setError(response.ok ? null : answer.error);
    if (response.ok) done();
  };

  return html`<main class="sign-in"><form class="card" onSubmit=${submit}>
    <h1><img src="/static/icon.svg" alt="" width="28" height="28" /> gamebus</h1>
    <label>Password or operator token <input type="password" name="secret" autocomplete="current-password" required autofocus /></label>
    <button type="submit" disabled=${busy}>Sign in</button>
    ${error && html`<p class="banner" role="alert">${error}</p>`}
    <p class="note">The password is <code>GAMEBUS_DASHBOARD__PASSWORD</code>; a token comes from <code>gamebus token --sub NAME --role operator</code>.</p>
  </form></main>`;
}
