import { useState } from "react";
import { instanceState, tallyApp } from "./app-tally.ts";
import { useConnection, useFeed, useNowMs, usePageState, useParts } from "./console-context.ts";
import { DeploymentProgress } from "./deployment-progress.tsx";
import { EmptyNote } from "./empty-note.tsx";
import type { FeedView } from "./feed-store.ts";
import { formatCount } from "./format-quantity.ts";
import { formatTally } from "./health-bar.tsx";
import { InstanceTable } from "./instance-table.tsx";
import { hostHref, instanceSearch } from "./instance-text.ts";
import { listProblems } from "./list-problems.ts";
import { MapView } from "./map-view.tsx";
import { AppLink, StateWord } from "./marks.tsx";
import { FIRST_PAGE, formatPageState, pageHref } from "./page-state.ts";
import { matchesSearch, parseSearch } from "./search-query.ts";
import { SelectionPanel } from "./selection-panel.tsx";

export function OverviewPage() {
  const { navigation } = useParts();
  const feed = useFeed();
  const state = usePageState();
  const [spotlight, setSpotlight] = useState<string | null>(null);
  return (
    <div className="overview">
      <div className="overview-main">
        <div className="overview-top">
          <h1 className="visually-hidden">Overview</h1>
          <Summary feed={feed} />
          <div className="switch" role="group" aria-label="Form of the overview">
            <button type="button" aria-pressed={!state.asTable} onClick={() => navigation.refine({ asTable: false })}>
              Map
            </button>
            <button type="button" aria-pressed={state.asTable} onClick={() => navigation.refine({ asTable: true })}>
              Table
            </button>
          </div>
        </div>
        {feed.hosts.length === 0 && feed.instances.length === 0 ? (
          <EmptyNote
            text="No host has joined yet. This prints the command that joins one:"
            command="apollo host token"
          />
        ) : state.asTable ? (
          <OverviewTable feed={feed} query={state.query} />
        ) : (
          <MapView spotlight={spotlight} />
        )}
      </div>
      <aside className="overview-side" aria-label="Details">
        {state.selection === null ? (
          <SidePanel feed={feed} onSpotlight={setSpotlight} />
        ) : (
          <SelectionPanel selection={state.selection} />
        )}
      </aside>
    </div>
  );
}

/** The cluster in one line. */
function Summary({ feed }: { readonly feed: FeedView }) {
  const up = feed.hosts.filter((host) => host.phase === "up").length;
  const ready = feed.instances.filter((instance) => instanceState(instance) === "ready").length;
  const wanted = feed.apps.reduce((sum, app) => sum + app.instances, 0);
  const figures = [
    { name: "Hosts up", value: up, of: feed.hosts.length, href: pageHref({ name: "hosts" }) },
    { name: "Instances ready", value: ready, of: wanted, href: pageHref({ name: "apps" }) },
    { name: "Apps", value: feed.apps.length, of: null, href: pageHref({ name: "apps" }) },
    { name: "Services", value: feed.services.length, of: null, href: pageHref({ name: "services" }) },
  ];
  return (
    <ul className="summary">
      {figures.map((figure) => (
        <li key={figure.name}>
          <a href={figure.href}>
            <span className="summary-value">
              {figure.value.toLocaleString("en")}
              {figure.of === null ? null : <span className="summary-of"> / {figure.of.toLocaleString("en")}</span>}
            </span>
            <span className="summary-name">{figure.name}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}

function OverviewTable({ feed, query }: { readonly feed: FeedView; readonly query: string }) {
  const nowMs = useNowMs(1000);
  const terms = parseSearch(query);
  const instances = feed.instances.filter((instance) => matchesSearch(terms, instanceSearch(instance)));
  return (
    <div className="overview-table">
      <InstanceTable caption="All instances" instances={instances} nowMs={nowMs} />
      {instances.length === 0 ? (
        <EmptyNote text={query === "" ? "Nothing runs yet." : `Nothing matches "${query}".`} />
      ) : null}
    </div>
  );
}

/** What wants attention, what is changing, and the key to the map. */
function SidePanel({
  feed,
  onSpotlight,
}: {
  readonly feed: FeedView;
  readonly onSpotlight: (app: string | null) => void;
}) {
  return (
    <div className="panel">
      <Attention feed={feed} />
      {feed.deployments.length === 0 ? null : (
        <section className="deployments">
          <h2>Deployments</h2>
          {feed.deployments.map((deployment) => (
            <DeploymentProgress key={deployment.id} deployment={deployment} />
          ))}
        </section>
      )}
      <section>
        <h2>Apps</h2>
        {feed.apps.length === 0 ? (
          <EmptyNote text="No app yet. Deploy the first one:" command="apollo app create FILE" />
        ) : null}
        <ul className="legend-apps" onMouseLeave={() => onSpotlight(null)}>
          {feed.apps.map((app) => (
            <li
              key={app.id}
              onMouseEnter={() => onSpotlight(app.id)}
              onFocus={() => onSpotlight(app.id)}
              onBlur={() => onSpotlight(null)}
            >
              <AppLink app={app.id} />
              <span className="quiet numeric">{formatTally(tallyApp(app, feed.instancesByApp.get(app.id) ?? []))}</span>
            </li>
          ))}
        </ul>
      </section>
      <MapKey />
    </div>
  );
}

function Attention({ feed }: { readonly feed: FeedView }) {
  const nowMs = useNowMs(1000);
  const problems = listProblems(feed, nowMs);
  return (
    <section aria-label="Attention">
      {problems.length === 0 ? (
        <AllWell hosts={feed.hosts.length} />
      ) : (
        <>
          <h2>{problems.length === 1 ? "One thing wants attention" : `${problems.length} things want attention`}</h2>
          <ul className="problems">
            {problems.slice(0, 8).map((problem) => (
              <li key={problem.subject.key + problem.text}>
                <a
                  href={
                    problem.subject.kind === "host"
                      ? hostHref(problem.subject.key)
                      : pageHref({ name: "app", id: problem.subject.key })
                  }
                >
                  <StateWord tone={problem.severity === "error" ? "bad" : "warn"}>{problem.title}</StateWord>
                </a>
                <p>{problem.text}</p>
                {problem.hint === null ? null : <div className="note">{problem.hint}</div>}
              </li>
            ))}
          </ul>
          {problems.length > 8 ? (
            <a href={formatPageState({ ...FIRST_PAGE, page: { name: "hosts" } })}>
              {formatCount(problems.length - 8, "more problem")}
            </a>
          ) : null}
        </>
      )}
    </section>
  );
}

function AllWell({ hosts }: { readonly hosts: number }) {
  const live = useConnection().state === "live";
  // What was well when the connection went may not be any more.
  const word = !live ? "Not live: as last heard" : hosts === 0 ? "No host yet" : "All well";
  return (
    <p className="all-well">
      <StateWord tone={live && hosts > 0 ? "good" : "quiet"}>{word}</StateWord>
    </p>
  );
}

/** The forms that cells take, drawn as on the map. */
function MapKey() {
  return (
    <section>
      <h2>Key</h2>
      <ul className="key">
        <li>
          <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden>
            <rect x="2" y="2" width="16" height="16" rx="3" fill="currentColor" />
          </svg>
          ready
        </li>
        <li>
          <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden>
            <rect
              x="3"
              y="3"
              width="14"
              height="14"
              rx="3"
              fill="none"
              stroke="currentColor"
              strokeWidth="2"
              strokeDasharray="4 2.5"
            />
          </svg>
          starting
        </li>
        <li>
          <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden>
            <rect x="2" y="2" width="16" height="16" rx="3" fill="currentColor" />
            <circle className="key-bad" cx="15.5" cy="4.5" r="4.5" />
          </svg>
          unhealthy
        </li>
        <li>
          <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden>
            <rect className="key-bad-line" x="3" y="3" width="14" height="14" rx="3" fill="none" strokeWidth="2" />
            <circle className="key-bad" cx="15.5" cy="4.5" r="4.5" />
          </svg>
          failed, lost
        </li>
        <li>
          <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden>
            <rect x="2" y="2" width="16" height="16" rx="3" fill="currentColor" opacity="0.35" />
          </svg>
          stopping
        </li>
      </ul>
    </section>
  );
}
