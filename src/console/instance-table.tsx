import { ActionsHead } from "./actions-head.tsx";
import type { InstanceJson } from "../api/native/shapes.ts";
import { instanceState } from "./app-tally.ts";
import { useAction, useParts } from "./console-context.ts";
import { ConfirmButton } from "./confirm-button.tsx";
import { CopyText } from "./copy-text.tsx";
import { ActionFailure } from "./failure-note.tsx";
import { formatDuration, formatInstanceName } from "./format-quantity.ts";
import { formatAddress, formatInstanceState, hostHref, instanceHref } from "./instance-text.ts";
import { AppLink, INSTANCE_TONE, StateWord } from "./marks.tsx";

/** `without` names what the place around the table already says. */
export function InstanceTable(props: {
  readonly caption: string;
  readonly instances: readonly InstanceJson[];
  readonly nowMs: number;
  readonly without?: "app" | "host";
}) {
  return (
    <div className="table-wrap">
      <table>
        <caption className="visually-hidden">{props.caption}</caption>
        <thead>
          <tr>
            <th scope="col">Instance</th>
            {props.without === "app" ? null : <th scope="col">App</th>}
            <th scope="col">State</th>
            <th scope="col">Address</th>
            {props.without === "host" ? null : <th scope="col">Host</th>}
            <th scope="col">Version</th>
            <th scope="col" className="number">
              Age
            </th>
            <ActionsHead />
          </tr>
        </thead>
        <tbody>
          {props.instances.map((instance) => (
            <InstanceRow key={instance.id} instance={instance} nowMs={props.nowMs} without={props.without} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function InstanceRow(props: {
  readonly instance: InstanceJson;
  readonly nowMs: number;
  readonly without: "app" | "host" | undefined;
}) {
  const { instance } = props;
  return (
    <tr data-instance={instance.id}>
      <th scope="row">
        <a href={instanceHref(instance.id)} title={instance.id}>
          <code>{formatInstanceName(instance.id)}</code>
        </a>
      </th>
      {props.without === "app" ? null : (
        <td>
          <AppLink app={instance.app} />
        </td>
      )}
      <td>
        <StateWord tone={INSTANCE_TONE[instanceState(instance)]}>{formatInstanceState(instance)}</StateWord>
        {instance.message === null ? null : <div className="note">{instance.message}</div>}
      </td>
      <td>{instance.address === null ? "–" : <CopyText text={formatAddress(instance)} what="address" />}</td>
      {props.without === "host" ? null : (
        <td>
          <a href={hostHref(instance.host)}>{instance.host}</a>
        </td>
      )}
      <td>{instance.current ? "current" : <span className="old">older</span>}</td>
      <td className="number" data-label="Age">
        {instance.startedAtMs === null ? "–" : formatDuration(props.nowMs - instance.startedAtMs)}
      </td>
      <td className="row-actions">
        <ReplaceButton instance={instance} />
      </td>
    </tr>
  );
}

export function ReplaceButton({ instance }: { readonly instance: InstanceJson }) {
  const { api } = useParts();
  const { action, run, clear } = useAction();
  return (
    <>
      <ConfirmButton
        label="Replace"
        title={`Replace instance ${formatInstanceName(instance.id)}?`}
        impact={`It stops on ${instance.host}, and a new one is started where there is room.`}
        confirm="Replace"
        disabled={action.state === "pending" || instance.goal !== "running"}
        onConfirm={() => run(() => api.replaceInstance(instance.id))}
      />
      <ActionFailure action={action} onClose={clear} />
    </>
  );
}
