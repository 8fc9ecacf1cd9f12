// The shell: sign-in, navigation, and the page that the address names.

import { Alerts } from "./pages/alerts.js";
import { Audit } from "./pages/audit.js";
import { Delivery } from "./pages/delivery.js";
import { Overview } from "./pages/overview.js";
import { Players } from "./pages/players.js";
import { Processes } from "./pages/processes.js";
import { Room, Rooms } from "./pages/rooms.js";
import { SignIn } from "./pages/sign-in.js";
import { html, render, useEffect, useState } from "./vendor/htm-preact.js";

const PAGES = [
  ["/", "Overview"],
  ["/rooms", "Rooms"],
  ["/players", "Players"],
  ["/processes", "Gateways and processors"],
  ["/delivery", "Delivery"],
  ["/alerts", "Alerts"],
  ["/audit", "Audit"],
];

function Dashboard() {
  const [session, setSession] = useState(null);
  const [firing, setFiring] = useState(0);
  const [place, setPlace] = useState(location.pathname + location.search);
  const [theme, setTheme] = useState(
    localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"),
  );

  const ask = async () => {
    const response = await fetch("/api/session");
    setSession(await response.json());
  };
  const go = (to) => {
    history.pushState(null, "", to);
    setPlace(to);
  };
  const signOut = async () => {
    await fetch("/sign-out", { method: "POST" });
    await ask();
  };

  useEffect(() => {
    ask();
    const back = () => setPlace(location.pathname + location.search);
    const search = (event) => {
      if (event.key === "/" && !/^(input|textarea|select)$/i.test(event.target.tagName)) {
        event.preventDefault();
        const field = document.querySelector("input[type=search]");
        if (field) field.focus();
        else go("/players");
      }
    };
    const count = ({ detail }) => setFiring(detail);
    addEventListener("popstate", back);
    addEventListener("firing", count);
    addEventListener("keydown", search);
    return () => {
      removeEventListener("popstate", back);
      removeEventListener("firing", count);
      removeEventListener("keydown", search);
    };
  }, []);
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  useEffect(() => {
    document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [place, session]);

  if (!session) return html`<p class="empty" role="status">Connecting …</p>`;
  if (!session.operator) return html`<${SignIn} done=${ask} />`;

  const url = new URL(place, location.origin);
  const shared = { go, theme, onSignedOut: ask, text: url.searchParams.get("q") ?? "", actions: session.actions };
  const room = url.pathname.match(/^\/rooms\/(.+)$/);
  const page = {
    "/": () => html`<${Overview} ...${shared} span=${url.searchParams.get("span") ?? "5m"} />`,
    "/rooms": () => html`<${Rooms} ...${shared} />`,
    "/players": () => html`<${Players} ...${shared} />`,
    "/processes": () => html`<${Processes} ...${shared} />`,
    "/delivery": () => html`<${Delivery} ...${shared} />`,
    "/alerts": () => html`<${Alerts} ...${shared} />`,
    "/audit": () => html`<${Audit} ...${shared} />`,
  }[url.pathname];
  const link = (event, to) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(to);
  };

  return html`
    <header>
      <a class="name" href="/" onClick=${(event) => link(event, "/")}><img src="/static/icon.svg" alt="" width="24" height="24" /> gamebus</a>
      <nav aria-label="Pages">${PAGES.map(
        ([to, name]) => html`
        <a href=${to} class=${to === "/alerts" && firing > 0 ? "firing" : undefined} aria-current=${url.pathname === to || (to === "/rooms" && room) ? "page" : undefined} onClick=${(event) => link(event, to)}>${name}${
          to === "/alerts" && firing > 0 && html` <span class="badge">${firing}<span class="unseen"> firing</span></span>`
        }</a>`,
      )}
      </nav>
      <div class="tools">
        <button type="button" onClick=${() => setTheme(theme === "dark" ? "light" : "dark")}>${theme === "dark" ? "Light" : "Dark"}</button>
        ${session.sign_in && html`<button type="button" onClick=${signOut}>Sign out</button>`}
      </div>
    </header>
    <main>${
      room
        ? html`<${Room} key=${room[1]} ...${shared} room=${decodeURIComponent(room[1])} />`
        : (page?.() ??
          html`<p class="empty">There is no page ${url.pathname}. <a href="/" onClick=${(event) => link(event, "/")}>Overview</a></p>`)
    }</main>
    <footer>gamebus ${session.version} · <kbd>/</kbd> searches</footer>`;
}

render(html`<${Dashboard} />`, document.getElementById("root"));
