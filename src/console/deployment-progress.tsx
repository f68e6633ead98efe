import type { DeploymentJson } from "../api/native/shapes.ts";
import { useAction, useParts } from "./console-context.ts";
import { ConfirmButton } from "./confirm-button.tsx";
import { ActionFailure } from "./failure-note.tsx";
import { formatAppName } from "./format-quantity.ts";

/** Marathon's names of actions, which the API keeps, in the words of the rest of the console. */
const ACTION_WORDS: Readonly<Record<string, string>> = {
  StartApplication: "starting",
  ScaleApplication: "scaling",
  StopApplication: "stopping",
  RestartApplication: "replacing instances of",
};

/** What a deployment is doing: "Step 2 of 3: scaling nodejs-rest-api"; of `app` alone when its name stands beside it. */
export function formatDeployment(deployment: DeploymentJson, app: string | null = null): string {
  const actions = deployment.actions
    .filter((item) => app === null || item.app === app)
    .map(({ action, app: id }) => {
      const word = ACTION_WORDS[action] ?? action;
      return app === null ? `${word} ${formatAppName(id)}` : word.replace(/ of$/, "");
    })
    .join(", ");
  const step = `Step ${Math.min(deployment.step, deployment.steps)} of ${deployment.steps}`;
  return actions === "" ? step : `${step}: ${actions}`;
}

export function DeploymentProgress({ deployment }: { readonly deployment: DeploymentJson }) {
  const { api } = useParts();
  const { action, run, clear } = useAction();
  const { step, steps } = deployment;
  // The step under way is not done: it shows as such, or a last step that waits for ever would look finished.
  const part = (count: number): string => `${Math.round((Math.max(0, count) / Math.max(1, steps)) * 1000) / 10}%`;
  return (
    <div className="deployment">
      <div className="deployment-head">
        <span>{formatDeployment(deployment)}</span>
        <ConfirmButton
          label="Undo"
          title="Undo this deployment?"
          impact={`A new deployment brings ${deployment.apps.map(formatAppName).join(", ")} back to what ran before.`}
          confirm="Undo deployment"
          disabled={action.state === "pending"}
          onConfirm={() => run(() => api.cancelDeployment(deployment.id))}
        />
      </div>
      <span className="deployment-bar" aria-hidden>
        <span style={{ width: part(Math.min(step, steps) - 1) }} />
        <span className="deployment-now" style={{ width: part(1) }} />
      </span>
      <ActionFailure action={action} onClose={clear} />
    </div>
  );
}
