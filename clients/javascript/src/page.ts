/**
 * Hooks into the life of a page: a phone that comes out of a pocket does not wait for the back-off.
 *
 * Guarantee: `visibilitychange` to visible, `online` and `pageshow` call `wake`. Outside of a browser nothing is hooked.
 *
 * Not guaranteed: `online` says that there is a network, not that the gateway can be reached. `offline` and hiding do nothing:
 * a socket may well live through both.
 */

/** What is needed of a browser's globals. */
export interface Page {
  readonly window: EventTarget;
  readonly document: EventTarget & { readonly visibilityState: string };
}

/** The page that this script runs in; null in Node and in workers. */
export function currentPage(): Page | null {
  const { window, document } = globalThis as { window?: EventTarget; document?: Page["document"] };
  return window === undefined || document === undefined ? null : { window, document };
}

/** Call `wake` when the page comes back to life; returns what stops it. */
export function watchPage({ window, document }: Page, wake: () => void): () => void {
  const whenVisible = () => {
    if (document.visibilityState === "visible") wake();
  };
  document.addEventListener("visibilitychange", whenVisible);
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", wake);
  return () => {
    document.removeEventListener("visibilitychange", whenVisible);
    window.removeEventListener("online", wake);
    window.removeEventListener("pageshow", wake);
  };
}
