import { useContext } from "react";
import { MarksContext, useTheme } from "./console-context.ts";
import type { InstanceState } from "./app-tally.ts";
import { formatAppName } from "./format-quantity.ts";
import { DARK_MAP, LIGHT_MAP } from "./map-theme.ts";
import { pageHref } from "./page-state.ts";

/** The app's colour and letters, as on the map. */
export function AppBadge({ app }: { readonly app: string }) {
  const mark = useContext(MarksContext).get(app);
  const theme = useTheme() === "dark" ? DARK_MAP : LIGHT_MAP;
  if (mark === undefined) return null;
  return (
    <span className="badge" style={{ backgroundColor: theme.appFills[mark.colour], color: theme.appInk }} aria-hidden>
      {mark.letters}
    </span>
  );
}

export function AppLink({ app }: { readonly app: string }) {
  return (
    <a className="app-link" href={pageHref({ name: "app", id: app })}>
      <AppBadge app={app} />
      <span>{formatAppName(app)}</span>
    </a>
  );
}

export type Tone = "good" | "busy" | "warn" | "bad" | "quiet";

/** A word with a sign before it; the sign's form differs by tone, so colour is never alone. */
export function StateWord({ tone, children }: { readonly tone: Tone; readonly children: string }) {
  return (
    <span className={`state state-${tone}`}>
      <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden focusable="false">
        {SIGNS[tone]}
      </svg>
      {children}
    </span>
  );
}

const SIGNS: Readonly<Record<Tone, React.ReactNode>> = {
  good: <circle cx="6" cy="6" r="4.5" fill="currentColor" />,
  busy: <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="2" strokeDasharray="3 2" />,
  warn: <path d="M6 1 L11.4 11 H0.6 Z" fill="currentColor" />,
  bad: <path d="M2 2 L10 10 M10 2 L2 10" stroke="currentColor" strokeWidth="2.4" fill="none" />,
  quiet: <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="1.5" />,
};

export const INSTANCE_TONE: Readonly<Record<InstanceState, Tone>> = {
  ready: "good",
  unhealthy: "bad",
  starting: "busy",
  leaving: "quiet",
  failed: "bad",
  lost: "warn",
};
