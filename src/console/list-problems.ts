import { instanceState } from "./app-tally.ts";
import type { FeedView } from "./feed-store.ts";
import { formatAppName, formatCount, formatDuration } from "./format-quantity.ts";

/** Something a person should look at. */
export interface Problem {
  readonly severity: "warning" | "error";
  readonly subject: { readonly kind: "host" | "app"; readonly key: string };
  readonly text: string;
  readonly hint: string | null;
}

/** Errors first, then by subject. Hosts before apps: a host that is down explains many apps. */
export function listProblems(feed: FeedView, nowMs: number): readonly Problem[] {
  const problems: Problem[] = [];
  for (const host of feed.hosts) {
    const subject = { kind: "host", key: host.name } as const;
    if (host.phase === "down") {
      const since = host.lastSeenMs === null ? "" : `, not heard of for ${formatDuration(nowMs - host.lastSeenMs)}`;
      problems.push({
        severity: "error",
        subject,
        text: `Host ${host.name} is down${since}`,
        hint: `Check the machine and its agent, or remove it: apollo host remove ${host.name}`,
      });
    }
    for (const condition of host.conditions) {
      if (condition.severity === "info") continue;
      const text = `${host.name}: ${condition.text}`;
      problems.push({ severity: condition.severity, subject, text, hint: condition.hint });
    }
  }
  for (const app of feed.apps) {
    const subject = { kind: "app", key: app.id } as const;
    const name = formatAppName(app.id);
    if (app.problem !== null) {
      problems.push({ severity: "error", subject, text: `${name}: ${app.problem}`, hint: `apollo why ${name}` });
      continue;
    }
    const sick = (feed.instancesByApp.get(app.id) ?? []).filter((item) => instanceState(item) === "unhealthy").length;
    if (sick > 0) {
      const text = `${name}: ${formatCount(sick, "instance")} ${sick === 1 ? "fails" : "fail"} its checks`;
      problems.push({ severity: "warning", subject, text, hint: `apollo why ${name}` });
    }
  }
  return problems.toSorted((a, b) => rank(a) - rank(b));
}

function rank(problem: Problem): number {
  return problem.severity === "error" ? 0 : 1;
}
