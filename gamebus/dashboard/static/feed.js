// The frames of one page. EventSource dials again by itself; until then the last frame stays, and its age grows.

import { useEffect, useState } from "./vendor/htm-preact.js";

const STALE_MS = 5000;

/** The last frame of a page: `{page, redis, error, ageMs, stale, nowMs}`; `page` is null before the first one. Tells the window how many alerts fire. */
export function useFeed(name, onSignedOut) {
  const [frame, setFrame] = useState({ name: null, page: null, redis: true, error: null, receivedAt: performance.now() });
  const [now, setNow] = useState(performance.now());

  useEffect(() => {
    const source = new EventSource(`/api/feed?page=${encodeURIComponent(name)}`);
    source.onmessage = ({ data }) => {
      const { at_ms, redis, error, firing, page, read_ms } = JSON.parse(data);
      setFrame({ name, atMs: at_ms, readMs: read_ms, redis, error, page, receivedAt: performance.now() });
      setNow(performance.now());
      dispatchEvent(new CustomEvent("firing", { detail: firing }));
    };
    source.onerror = () => {
      // A refusal closes it for good; a server that is away is dialled again.
      if (source.readyState === EventSource.CLOSED) onSignedOut();
    };
    const timer = setInterval(() => setNow(performance.now()), 1000);
    return () => {
      source.close();
      clearInterval(timer);
    };
  }, [name]);

  const sinceMs = Math.max(0, now - frame.receivedAt);
  // While Redis does not answer, frames come that have nothing new.
  const ageMs = sinceMs + (frame.readMs ? frame.atMs - frame.readMs : 0);
  const current = frame.name === name;
  return {
    page: current ? frame.page : null,
    redis: !current || frame.redis,
    error: current ? frame.error : null,
    ageMs,
    nowMs: (frame.atMs ?? Date.now()) + sinceMs,
    stale: ageMs > STALE_MS || (current && !frame.redis),
  };
}
