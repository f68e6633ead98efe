import { createRoot } from "react-dom/client";
import { ApiClient, ApiFailure } from "./api-client.ts";
import { ConsoleContext } from "./console-context.ts";
import { FeedClient } from "./feed-client.ts";
import { FeedStore } from "./feed-store.ts";
import { NavigationStore } from "./navigation-store.ts";
import { Shell } from "./shell.tsx";
import { takeToken } from "./take-token.ts";
import { ThemeStore } from "./theme-choice.ts";
import "./console.css";

// The page lies at PREFIX/ui/, the API at PREFIX/api/: so it also works behind a proxy that adds a prefix.
const apiUrl = new URL("../api/", new URL(".", location.href));
const feedUrl = new URL("feed", apiUrl);
feedUrl.protocol = feedUrl.protocol === "https:" ? "wss:" : "ws:";

const taken = takeToken(location.hash);
// Out of the address bar and the history before anything else can fail.
if (taken !== null) history.replaceState(null, "", taken.rest);

// A hidden page gets no frames; its listeners then wait until it is looked at again, and it costs nothing.
const store = new FeedStore((run) => requestAnimationFrame(run));
const api = new ApiClient(apiUrl.href, (url, init) => fetch(url, init));
const client = new FeedClient(store, {
  openSocket: (events) => {
    const socket = new WebSocket(feedUrl);
    socket.onmessage = (event) => events.onMessage(event.data);
    socket.onclose = () => events.onClose();
    return socket;
  },
  checkSession: () => api.checkSession(),
  nowMs: () => Date.now(),
  after: (waitMs, run) => {
    const timer = setTimeout(run, waitMs);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
});
api.onRefused = () => client.signOut();

async function start(): Promise<void> {
  if (taken !== null) {
    try {
      await api.signIn(taken.token);
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error;
      // A stale link: the feed below finds out whether an older session still holds.
    }
  }
  const session = await api.checkSession();
  if (session === "refused") client.signOut();
  else client.open();
}

const root = document.getElementById("root");
if (root === null) throw new Error("The page has no #root");
const parts = { store, client, api, navigation: new NavigationStore(), theme: new ThemeStore() };
createRoot(root).render(
  <ConsoleContext value={parts}>
    <Shell />
  </ConsoleContext>,
);
void start();
