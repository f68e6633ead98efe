import { useEffect, useMemo, useRef, useState } from "react";
import { instanceState } from "./app-tally.ts";
import { planAppMarks, type AppMark } from "./app-marks.ts";
import { AppPage } from "./app-page.tsx";
import { AppsPage } from "./apps-page.tsx";
import { ConnectionBadge } from "./connection-badge.tsx";
import { MarksContext, useConnection, useFeed, usePageState, useParts, useTheme } from "./console-context.ts";
import { formatAppName, formatCount } from "./format-quantity.ts";
import { HostsPage } from "./hosts-page.tsx";
import { OverviewPage } from "./overview-page.tsx";
import { pageHref, type Page } from "./page-state.ts";
import { ServicesPage } from "./services-page.tsx";
import { SignIn } from "./sign-in.tsx";

/** The frame around every page. */
export function Shell() {
  const connection = useConnection();
  const feed = useFeed();
  const marks = useAppMarks();
  if (connection.state === "signed-out") return <SignIn />;
  return (
    <MarksContext value={marks}>
      <div className="shell">
        <TopBar />
        <main id="main" tabIndex={-1} aria-busy={feed.sequence === null} data-connection-state={connection.state}>
          {feed.sequence === null ? <p className="waiting">Waiting for the cluster's state…</p> : <CurrentPage />}
        </main>
        <Announcer />
      </div>
    </MarksContext>
  );
}

/** Marks are kept while the page lives, so that an app does not change its colour when another comes. */
function useAppMarks(): ReadonlyMap<string, AppMark> {
  const { apps } = useFeed();
  const last = useRef<ReadonlyMap<string, AppMark>>(new Map());
  const ids = apps.map((app) => app.id).join(" ");
  return useMemo(() => {
    last.current = planAppMarks(last.current, ids === "" ? [] : ids.split(" "));
    return last.current;
  }, [ids]);
}

function CurrentPage() {
  const { page } = usePageState();
  const title = pageTitle(page);
  useEffect(() => {
    document.title = `${title} · Apollo`;
  }, [title]);
  switch (page.name) {
    case "overview":
      return <OverviewPage />;
    case "apps":
      return <AppsPage />;
    case "app":
      return <AppPage key={page.id} id={page.id} />;
    case "services":
      return <ServicesPage />;
    case "hosts":
      return <HostsPage />;
  }
}

function pageTitle(page: Page): string {
  if (page.name === "app") return formatAppName(page.id);
  return page.name.charAt(0).toUpperCase() + page.name.slice(1);
}

function TopBar() {
  const feed = useFeed();
  const { page } = usePageState();
  const here = page.name === "app" ? "apps" : page.name;
  const pages = [
    { name: "overview", label: "Overview", count: null },
    { name: "apps", label: "Apps", count: feed.apps.length },
    { name: "services", label: "Services", count: feed.services.length },
    { name: "hosts", label: "Hosts", count: feed.hosts.length },
  ] as const;
  return (
    <header className="top">
      <button type="button" className="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to content
      </button>
      <a className="brand" href="#/" aria-label="Apollo, overview">
        <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden>
          <circle cx="12" cy="12" r="4.2" fill="currentColor" />
          <ellipse
            cx="12"
            cy="12"
            rx="10.4"
            ry="4.6"
            fill="none"
            stroke="currentColor"
            strokeWidth="1.6"
            transform="rotate(-32 12 12)"
          />
          <circle cx="20.4" cy="5.6" r="2" fill="currentColor" />
        </svg>
        Apollo
      </a>
      <nav aria-label="Pages">
        {pages.map((item) => (
          <a
            key={item.name}
            href={pageHref({ name: item.name })}
            aria-current={here === item.name ? "page" : undefined}
          >
            {item.label}
            {item.count === null ? null : <span className="nav-count">{item.count}</span>}
          </a>
        ))}
      </nav>
      <SearchBox />
      <div className="top-end">
        <ConnectionBadge />
        <ThemeButton />
        <SignOutButton />
      </div>
    </header>
  );
}

function SearchBox() {
  const { navigation } = useParts();
  const { query } = usePageState();
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const focusSearch = (event: KeyboardEvent): void => {
      const target = event.target;
      const typing =
        target instanceof HTMLInputElement ||
        target instanceof HTMLTextAreaElement ||
        document.querySelector("dialog[open]") !== null;
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    document.addEventListener("keydown", focusSearch);
    return () => document.removeEventListener("keydown", focusSearch);
  }, []);
  return (
    <div className="search" role="search">
      <input
        ref={input}
        type="search"
        aria-label="Search this page"
        aria-keyshortcuts="/"
        title="Words that must all occur; field:word looks in one field, !word excludes. Example: host:h1 !health:healthy"
        placeholder="Search"
        spellCheck={false}
        autoComplete="off"
        value={query}
        onChange={(event) => navigation.refine({ query: event.target.value })}
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          navigation.refine({ query: "" });
          input.current?.blur();
        }}
      />
      <kbd aria-hidden>/</kbd>
    </div>
  );
}

function ThemeButton() {
  const { theme } = useParts();
  const shown = useTheme();
  const other = shown === "dark" ? "light" : "dark";
  return (
    <button
      type="button"
      className="button-icon"
      aria-label={`Use ${other} theme`}
      title={`Use ${other} theme`}
      onClick={() => theme.toggle()}
    >
      <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden>
        <circle cx="10" cy="10" r="7" fill="none" stroke="currentColor" strokeWidth="1.6" />
        <path d="M10 3 A7 7 0 0 1 10 17 Z" fill="currentColor" />
      </svg>
    </button>
  );
}

function SignOutButton() {
  const { api, client } = useParts();
  const [pending, setPending] = useState(false);
  const signOut = (): void => {
    setPending(true);
    // Whether or not the server heard it, this page forgets: the cookie dies with the session on the server's side.
    void api.signOut().finally(() => {
      setPending(false);
      client.signOut();
    });
  };
  return (
    <button
      type="button"
      className="button-icon"
      disabled={pending}
      aria-label="Sign out"
      title="Sign out"
      onClick={signOut}
    >
      <svg
        viewBox="0 0 20 20"
        width="18"
        height="18"
        aria-hidden
        fill="none"
        stroke="currentColor"
        strokeWidth="1.6"
        strokeLinecap="round"
        strokeLinejoin="round"
      >
        <path d="M8 3.5 H4.5 V16.5 H8 M12.5 6.5 L16 10 L12.5 13.5 M16 10 H8" />
      </svg>
    </button>
  );
}

/** How often the summary may be read out: each single change would drown a listener. */
const ANNOUNCE_MS = 5000;

/** One quiet sentence for screen readers when the cluster's numbers change. */
function Announcer() {
  const feed = useFeed();
  const ready = feed.instances.filter((instance) => instanceState(instance) === "ready").length;
  const up = feed.hosts.filter((host) => host.phase === "up").length;
  const text = `${formatCount(ready, "instance")} ready, ${formatCount(up, "host")} up`;
  const [said, setSaid] = useState(text);
  const latest = useRef(text);
  latest.current = text;
  useEffect(() => {
    const timer = setInterval(() => setSaid(latest.current), ANNOUNCE_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <p className="visually-hidden" role="status">
      {said}
    </p>
  );
}
