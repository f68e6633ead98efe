import { ActionsHead } from "./actions-head.tsx";
import type { AppJson } from "../api/native/shapes.ts";
import { AppActions, ScaleControl } from "./app-controls.tsx";
import { tallyApp } from "./app-tally.ts";
import { useAction, useFeed, usePageState } from "./console-context.ts";
import { formatDeployment } from "./deployment-progress.tsx";
import { EmptyNote } from "./empty-note.tsx";
import { FailureNote } from "./failure-note.tsx";
import type { FeedView } from "./feed-store.ts";
import { formatAppName, formatCpus, formatMemory } from "./format-quantity.ts";
import { HealthBar } from "./health-bar.tsx";
import { withoutName } from "./list-problems.ts";
import { AppLink, StateWord, type Tone } from "./marks.tsx";
import { matchesSearch, parseSearch, type SearchFields } from "./search-query.ts";

export const APP_TONE: Readonly<Record<AppJson["status"], Tone>> = {
  running: "good",
  deploying: "busy",
  suspended: "quiet",
  delayed: "warn",
  waiting: "warn",
};

export function AppsPage() {
  const feed = useFeed();
  const { query } = usePageState();
  const terms = parseSearch(query);
  const apps = feed.apps.filter((app) => matchesSearch(terms, appSearch(app)));
  return (
    <div className="page">
      <h1>Apps</h1>
      {feed.apps.length === 0 ? (
        <EmptyNote text="No app yet. Deploy the first one:" command="apollo app create FILE" />
      ) : (
        <div className="table-wrap">
          <table className="apps-table">
            <caption className="visually-hidden">Apps and their instances</caption>
            <thead>
              <tr>
                <th scope="col">App</th>
                <th scope="col">Status</th>
                <th scope="col">Instances</th>
                <th scope="col" className="number">
                  CPU
                </th>
                <th scope="col" className="number">
                  Memory
                </th>
                <th scope="col">Scale</th>
                <ActionsHead />
              </tr>
            </thead>
            <tbody>
              {apps.map((app) => (
                <AppRow key={app.id} app={app} feed={feed} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {feed.apps.length > 0 && apps.length === 0 ? <EmptyNote text={`No app matches "${query}".`} /> : null}
    </div>
  );
}

function AppRow({ app, feed }: { readonly app: AppJson; readonly feed: FeedView }) {
  const deployment = feed.deployments.find((candidate) => candidate.apps.includes(app.id));
  const control = useAction();
  return (
    <>
      <tr data-app={app.id}>
        <th scope="row">
          <AppLink app={app.id} />
          <div className="note image" title={app.image}>
            {app.image}
          </div>
        </th>
        <td>
          <StateWord tone={APP_TONE[app.status]}>{app.status}</StateWord>
          {deployment === undefined ? null : <div className="note">{formatDeployment(deployment, app.id)}</div>}
          {app.problem === null ? null : <div className="note note-bad">{withoutName(app.problem, app.id)}</div>}
        </td>
        <td>
          <HealthBar tally={tallyApp(app, feed.instancesByApp.get(app.id) ?? [])} />
        </td>
        <td className="number" title="Per instance" data-label="CPU">
          {formatCpus(app.cpus)}
        </td>
        <td className="number" title="Per instance" data-label="Memory">
          {formatMemory(app.memoryMiB)}
        </td>
        <td>
          <ScaleControl app={app} control={control} />
        </td>
        <td className="row-actions">
          <AppActions app={app} control={control} />
        </td>
      </tr>
      {control.action.state === "failed" ? (
        <tr className="row-failure">
          <td colSpan={7}>
            <FailureNote failure={control.action.failure} onClose={control.clear} />
          </td>
        </tr>
      ) : null}
    </>
  );
}

function appSearch(app: AppJson): SearchFields {
  return {
    app: formatAppName(app.id),
    image: app.image,
    status: app.status,
    service: app.service,
    label: Object.entries(app.labels).map(([key, value]) => `${key}=${value}`),
  };
}
