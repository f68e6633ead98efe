import { ActionsHead } from "./actions-head.tsx";
import type { AppJson, VersionJson, WhyJson } from "../api/native/shapes.ts";
import { AppActions, ScaleControl } from "./app-controls.tsx";
import { APP_TONE } from "./apps-page.tsx";
import { tallyApp } from "./app-tally.ts";
import { useAction, useFeed, useNowMs, usePageState, useParts, useReading } from "./console-context.ts";
import { ConfirmButton } from "./confirm-button.tsx";
import { DeploymentProgress } from "./deployment-progress.tsx";
import { EmptyNote } from "./empty-note.tsx";
import { ActionFailure, FailureNote } from "./failure-note.tsx";
import {
  formatAppName,
  formatCount,
  formatCpus,
  formatDuration,
  formatInstanceName,
  formatMemory,
} from "./format-quantity.ts";
import { HealthBar } from "./health-bar.tsx";
import { InstanceTable } from "./instance-table.tsx";
import { instanceSearch } from "./instance-text.ts";
import { withoutName } from "./list-problems.ts";
import { AppBadge, StateWord } from "./marks.tsx";
import { FIRST_PAGE, formatPageState, pageHref } from "./page-state.ts";
import { matchesSearch, parseSearch } from "./search-query.ts";

export function AppPage({ id }: { readonly id: string }) {
  const { navigation } = useParts();
  const feed = useFeed();
  const nowMs = useNowMs(1000);
  const { query } = usePageState();
  const control = useAction();
  const app = feed.apps.find((candidate) => candidate.id === id);
  if (app === undefined) {
    return (
      <div className="page">
        <h1>{formatAppName(id)}</h1>
        <EmptyNote text={`There is no app "${formatAppName(id)}". All apps:`} command="apollo app list" />
        <a href={pageHref({ name: "apps" })}>Back to apps</a>
      </div>
    );
  }
  const all = feed.instancesByApp.get(id) ?? [];
  const instances = all.filter((instance) => matchesSearch(parseSearch(query), instanceSearch(instance)));
  const deployments = feed.deployments.filter((deployment) => deployment.apps.includes(id));
  const service = feed.services.find((candidate) => candidate.name === app.service);
  return (
    <div className="page" data-app={app.id}>
      <div className="app-head">
        <h1>
          <AppBadge app={id} /> {formatAppName(id)}
        </h1>
        <StateWord tone={APP_TONE[app.status]}>{app.status}</StateWord>
        <HealthBar tally={tallyApp(app, all)} />
        <ScaleControl app={app} control={control} />
        <AppActions
          app={app}
          control={control}
          onDestroyed={() => navigation.go({ ...FIRST_PAGE, page: { name: "apps" } })}
        />
      </div>
      <ActionFailure action={control.action} onClose={control.clear} />
      <AppFacts app={app} routes={service?.routes ?? []} />
      {deployments.map((deployment) => (
        <DeploymentProgress key={deployment.id} deployment={deployment} />
      ))}
      <WhyPanel app={app} />
      <section>
        <h2>{formatCount(all.length, "instance")}</h2>
        {all.length === 0 && app.instances === 0 ? (
          <EmptyNote
            text="Suspended: no instance is wanted. To start one:"
            command={`apollo app scale ${formatAppName(id)} 1`}
          />
        ) : all.length === 0 ? (
          <EmptyNote text="No instance is placed yet; what it waits for stands above." />
        ) : (
          <InstanceTable
            caption={`Instances of ${formatAppName(id)}`}
            instances={instances}
            nowMs={nowMs}
            without="app"
          />
        )}
      </section>
      <VersionsPanel app={app} />
    </div>
  );
}

function AppFacts({ app, routes }: { readonly app: AppJson; readonly routes: readonly string[] }) {
  return (
    <dl className="facts facts-row">
      <div>
        <dt>Image</dt>
        <dd>
          <code>{app.image}</code>
        </dd>
      </div>
      <div>
        <dt>Per instance</dt>
        <dd className="numeric">
          {formatCpus(app.cpus)} CPU · {formatMemory(app.memoryMiB)}
        </dd>
      </div>
      {app.service === null ? null : (
        <div>
          <dt>Service</dt>
          <dd>
            <a href={formatPageState({ ...FIRST_PAGE, page: { name: "services" }, query: `name:${app.service}` })}>
              {app.service}
            </a>
          </dd>
        </div>
      )}
      {routes.length === 0 ? null : (
        <div>
          <dt>Routes</dt>
          <dd>{routes.join(", ")}</dd>
        </div>
      )}
      <div>
        <dt>Version</dt>
        <dd className="numeric">{app.version}</dd>
      </div>
    </dl>
  );
}

/** Why the app is as it is: the server's sentence, and host by host when something is in the way. */
function WhyPanel({ app }: { readonly app: AppJson }) {
  const { api } = useParts();
  const nowMs = useNowMs(1000);
  // What the answer depends on; read again when any of it changes.
  const key = [
    app.id,
    app.version,
    app.instances,
    app.running,
    app.healthy,
    app.staging,
    app.status,
    app.problem,
  ].join();
  const { value, failure } = useReading<WhyJson>(key, () => api.why(app.id));
  return (
    <section className="why" aria-label="Why">
      <h2>Why</h2>
      {failure === null ? null : <FailureNote failure={failure} />}
      {value === null ? null : (
        <>
          <p>{withoutName(value.summary, app.id)}</p>
          {value.retryAtMs === null ? null : (
            <p className="note numeric">Next try in {formatDuration(value.retryAtMs - nowMs)}</p>
          )}
          {value.hosts.length === 0 ? null : (
            <ul className="why-hosts">
              {value.hosts.map((item) => (
                <li key={item.host}>
                  <strong>{item.host}</strong> {item.reason}
                </li>
              ))}
            </ul>
          )}
          {value.lastFailure === null ? null : (
            <p className="note note-bad">
              Last failure {formatDuration(nowMs - value.lastFailure.atMs)} ago: {value.lastFailure.message} (
              {formatInstanceName(value.lastFailure.instance)} on {value.lastFailure.host})
            </p>
          )}
        </>
      )}
    </section>
  );
}

function VersionsPanel({ app }: { readonly app: AppJson }) {
  const { api } = useParts();
  const { action, run, clear } = useAction();
  const { value, failure } = useReading(`${app.id} ${app.version}`, () => api.versions(app.id));
  return (
    <section>
      <h2>Versions</h2>
      {failure === null ? null : <FailureNote failure={failure} />}
      <ActionFailure action={action} onClose={clear} />
      <div className="table-wrap">
        <table>
          <caption className="visually-hidden">Versions of {formatAppName(app.id)}</caption>
          <thead>
            <tr>
              <th scope="col">Version</th>
              <th scope="col">Image</th>
              <th scope="col" className="number">
                Instances
              </th>
              <ActionsHead />
            </tr>
          </thead>
          <tbody>
            {(value ?? []).map((version: VersionJson) => (
              <tr key={version.version}>
                <th scope="row" className="numeric">
                  {version.version}
                </th>
                <td>
                  <code>{version.image}</code>
                </td>
                <td className="number" data-label="Instances">
                  {version.instances}
                </td>
                <td className="row-actions">
                  {version.current ? (
                    <span className="quiet">current</span>
                  ) : (
                    <ConfirmButton
                      label="Roll back"
                      title={`Roll ${formatAppName(app.id)} back?`}
                      impact={`The definition of ${version.version} (${version.image}, ${formatCount(version.instances, "instance")}) is deployed again, step by step.`}
                      confirm="Roll back"
                      disabled={action.state === "pending"}
                      onConfirm={() => run(() => api.rollback(app.id, version.version))}
                    />
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
