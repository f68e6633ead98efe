import { instanceState } from "./app-tally.ts";
import type { FeedView } from "./feed-store.ts";
import { formatAppName, formatCount, formatDuration } from "./format-quantity.ts";

/** Something a person should look at. */
export interface Problem {
  readonly severity: "warning" | "error";
  readonly subject: { readonly kind: "host" | "app"; readonly key: string };
  /** What it is about: a host's or an app's name. */
  readonly title: string;
  /** A sentence that does not repeat the title. */
  readonly text: string;
  readonly hint: string | null;
}

/** Errors first, then by subject. Hosts before apps: a host that is down explains many apps. */
export function listProblems(feed: FeedView, nowMs: number): readonly Problem[] {
  const problems: Problem[] = [];
  for (const host of feed.hosts) {
    const subject = { kind: "host", key: host.name } as const;
    if (host.phase === "down") {
      const since = host.lastSeenMs === null ? "" : `: not heard of for ${formatDuration(nowMs - host.lastSeenMs)}`;
      problems.push({
        severity: "error",
        subject,
        title: `Host ${host.name}`,
        text: `Down${since}`,
        hint: `Check the machine and its agent; if it is gone for good: apollo host remove ${host.name}`,
      });
    }
    for (const condition of host.conditions) {
      if (condition.severity === "info") continue;
      const { severity, text, hint } = condition;
      problems.push({ severity, subject, title: `Host ${host.name}`, text, hint });
    }
  }
  for (const app of feed.apps) {
    const subject = { kind: "app", key: app.id } as const;
    const title = formatAppName(app.id);
    if (app.problem !== null) {
      problems.push({ severity: "error", subject, title, text: withoutName(app.problem, app.id), hint: null });
      continue;
    }
    const all = feed.instancesByApp.get(app.id) ?? [];
    const sick = all.filter((item) => instanceState(item) === "unhealthy").length;
    if (sick > 0) {
      const text = `${formatCount(sick, "instance")} ${sick === 1 ? "fails its" : "fail their"} health checks`;
      // With none left that answers, the app is down, whatever runs.
      const severity = all.some((item) => instanceState(item) === "ready") ? "warning" : "error";
      problems.push({ severity, subject, title, text, hint: null });
    }
  }
  return problems.toSorted((a, b) => rank(a) - rank(b));
}

/** The server's sentence about an app, where the app's name stands above it. */
export function withoutName(sentence: string, app: string): string {
  return sentence.replace(` of "${app}"`, "");
}

function rank(problem: Problem): number {
  return problem.severity === "error" ? 0 : 1;
}
