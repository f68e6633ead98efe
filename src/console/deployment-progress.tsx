import type { DeploymentJson } from "../api/native/shapes.ts";
import { useAction, useParts } from "./console-context.ts";
import { ConfirmButton } from "./confirm-button.tsx";
import { ActionFailure } from "./failure-note.tsx";
import { formatAppName } from "./format-quantity.ts";

/** What a deployment is doing: "step 2 of 3: scale nodejs-rest-api". */
export function formatDeployment(deployment: DeploymentJson): string {
  const actions = deployment.actions.map((item) => `${item.action} ${formatAppName(item.app)}`).join(", ");
  const step = `Step ${Math.min(deployment.step, deployment.steps)} of ${deployment.steps}`;
  return actions === "" ? step : `${step}: ${actions}`;
}

export function DeploymentProgress({ deployment }: { readonly deployment: DeploymentJson }) {
  const { api } = useParts();
  const { action, run, clear } = useAction();
  const share = deployment.steps > 0 ? Math.min(1, deployment.step / deployment.steps) : 0;
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
        <span style={{ width: `${Math.round(share * 100)}%` }} />
      </span>
      <ActionFailure action={action} onClose={clear} />
    </div>
  );
}
