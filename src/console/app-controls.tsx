import { useEffect, useId, useState } from "react";
import type { AppJson } from "../api/native/shapes.ts";
import { type ActionControl, useParts } from "./console-context.ts";
import { ConfirmButton } from "./confirm-button.tsx";
import { formatAppName, formatCount } from "./format-quantity.ts";

/** Matches the API's own limit closely enough to stop a slip of the finger; the server decides. */
const INSTANCES_MAX = 10_000;

/** The wanted number with − and +; nothing happens before Apply. */
export function ScaleControl({ app, control }: { readonly app: AppJson; readonly control: ActionControl }) {
  const { api } = useParts();
  const { action, run, clear } = control;
  const [draft, setDraft] = useState<number | null>(null);
  const inputId = useId();
  const name = formatAppName(app.id);
  const wanted = draft ?? app.instances;
  const changed = draft !== null && draft !== app.instances;
  // Someone else may have scaled to what was typed here: then there is nothing left to apply.
  useEffect(() => {
    if (draft === app.instances) setDraft(null);
  }, [draft, app.instances]);
  const set = (value: number): void => {
    if (action.state === "failed") clear();
    setDraft(Math.min(INSTANCES_MAX, Math.max(0, Math.trunc(value))));
  };
  const apply = (): void => {
    if (changed) run(() => api.scale(app.id, wanted));
  };
  return (
    <form
      className={changed ? "scale scale-changed" : "scale"}
      onSubmit={(event) => {
        event.preventDefault();
        apply();
      }}
    >
      <button
        type="button"
        aria-label={`One instance less of ${name}`}
        disabled={wanted <= 0}
        onClick={() => set(wanted - 1)}
      >
        −
      </button>
      <label className="visually-hidden" htmlFor={inputId}>
        Instances of {name}
      </label>
      <input
        id={inputId}
        inputMode="numeric"
        pattern="[0-9]*"
        autoComplete="off"
        value={String(wanted)}
        onChange={(event) => {
          const value = Number(event.target.value);
          if (Number.isFinite(value)) set(value);
        }}
        onKeyDown={(event) => {
          if (event.key === "Escape") setDraft(null);
          if (event.key === "ArrowUp") set(wanted + 1);
          if (event.key === "ArrowDown") set(wanted - 1);
        }}
      />
      <button type="button" aria-label={`One instance more of ${name}`} onClick={() => set(wanted + 1)}>
        +
      </button>
      <button
        type="submit"
        className="scale-apply"
        aria-label={`Apply: scale ${name} to ${wanted}`}
        disabled={!changed || action.state === "pending"}
      >
        {action.state === "pending" ? "…" : "Apply"}
      </button>
    </form>
  );
}

/** Restart and destroy, each asked for once more. */
export function AppActions(props: {
  readonly app: AppJson;
  readonly control: ActionControl;
  readonly onDestroyed?: () => void;
}) {
  const { app, onDestroyed } = props;
  const { api } = useParts();
  const { action, run } = props.control;
  const name = formatAppName(app.id);
  const pending = action.state === "pending";
  const destroy = (): void =>
    run(async () => {
      await api.destroy(app.id);
      onDestroyed?.();
    });
  return (
    <div className="app-actions">
      <ConfirmButton
        label="Restart"
        title={`Restart ${name}?`}
        impact={`${formatCount(app.instances, "instance")} will be replaced step by step, with the definition that runs now.`}
        confirm="Restart"
        disabled={pending || app.instances === 0}
        onConfirm={() => run(() => api.restart(app.id))}
      />
      <ConfirmButton
        label="Destroy"
        title={`Destroy ${name}?`}
        impact={`${formatCount(app.running, "running instance")} will stop. Its definition, addresses, names and routes are removed. This cannot be undone.`}
        confirm={`Destroy ${name}`}
        danger
        disabled={pending}
        onConfirm={destroy}
      />
    </div>
  );
}
