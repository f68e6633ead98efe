import type { AppVersion } from "../../model/app.ts";
import { formatVersion } from "../../model/ids.ts";
import type { AppView } from "../../scheduling/app-service.ts";
import { renderDefinition, type Json } from "./render-definition.ts";
import { countTasks, renderTask, taskIdOf, type TaskCounts } from "./render-task.ts";

/** What goes into an app besides its definition. */
export interface Embeds {
  readonly counts: boolean;
  readonly deployments: boolean;
  readonly tasks: boolean;
  readonly lastTaskFailure: boolean;
}

export const LIST_EMBEDS: Embeds = { counts: true, deployments: true, tasks: false, lastTaskFailure: false };
export const SHOW_EMBEDS: Embeds = { counts: true, deployments: true, tasks: true, lastTaskFailure: true };
const NO_EMBEDS: Embeds = { counts: false, deployments: false, tasks: false, lastTaskFailure: false };

/** Adds what `embed` parameters ask for to the defaults; unknown ones are ignored, as Marathon does. */
export function parseEmbeds(values: readonly string[], defaults: Embeds): Embeds {
  const embeds = { ...(values.includes("none") ? NO_EMBEDS : defaults) };
  for (const value of values) {
    switch (value.replace(/^(group\.apps|apps|app)\./, "")) {
      case "tasks":
        embeds.tasks = embeds.deployments = true;
        break;
      case "failures":
        embeds.tasks = embeds.deployments = embeds.lastTaskFailure = true;
        break;
      case "counts":
        embeds.counts = true;
        break;
      case "deployments":
        embeds.deployments = true;
        break;
      case "lastTaskFailure":
        embeds.lastTaskFailure = true;
        break;
      default:
    }
  }
  return embeds;
}

/** One version of an app, without what runs of it: `GET /v2/apps/ID/versions/VERSION`. Superset of old and new forms. */
export function renderVersion(version: AppVersion): Json {
  const { spec } = version;
  return {
    ...renderDefinition(spec),
    // The older spelling of the same, for clients from before 1.5.
    ports: spec.ports.map((port) => port.servicePort),
    uris: [],
    storeUrls: [],
    version: version.version,
    versionInfo: { lastScalingAt: version.lastScalingAt, lastConfigChangeAt: version.lastConfigChangeAt },
  };
}

export function renderApp(view: AppView, embeds: Embeds): Json {
  const { spec } = view.current;
  return {
    ...renderVersion(view.current),
    ...(embeds.counts ? countTasks(view.instances) : {}),
    ...(embeds.deployments ? { deployments: view.deployments.map((id) => ({ id })) } : {}),
    ...(embeds.tasks ? { tasks: view.instances.map((instance) => renderTask(instance, spec)) } : {}),
    ...(embeds.lastTaskFailure && view.lastFailure !== null ? { lastTaskFailure: renderLastFailure(view) } : {}),
  };
}

const NONE_YET: TaskCounts = { tasksStaged: 0, tasksRunning: 0, tasksHealthy: 0, tasksUnhealthy: 0 };

/** The answer to a POST: the app as it was stored, before anything of it runs. */
export function renderCreated(view: AppView, deploymentId: string): Json {
  return { ...renderVersion(view.current), ...NONE_YET, deployments: [{ id: deploymentId }], tasks: [] };
}

function renderLastFailure({ lastFailure }: AppView): Json | null {
  if (lastFailure === null) return null;
  return {
    appId: lastFailure.appId,
    host: lastFailure.host,
    message: lastFailure.message,
    state: "TASK_FAILED",
    taskId: taskIdOf(lastFailure.instanceId),
    timestamp: formatVersion(lastFailure.atMs),
    version: lastFailure.version,
  };
}
