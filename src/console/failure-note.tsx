import type { ApiFailure } from "./api-client.ts";
import type { ActionState } from "./console-context.ts";

/** What went wrong and what to do, beside what caused it. */
export function FailureNote({ failure, onClose }: { readonly failure: ApiFailure; readonly onClose?: () => void }) {
  return (
    <div className="failure" role="alert">
      <div>
        <p>{failure.message}</p>
        {failure.fields.map((field) => (
          <p key={field.path} className="failure-field">
            <code>{field.path}</code> {field.message}
          </p>
        ))}
        {failure.hint === null ? null : <p className="failure-hint">{failure.hint}</p>}
      </div>
      {onClose === undefined ? null : (
        <button type="button" className="button-plain" aria-label="Dismiss" onClick={onClose}>
          ×
        </button>
      )}
    </div>
  );
}

export function ActionFailure({ action, onClose }: { readonly action: ActionState; readonly onClose: () => void }) {
  return action.state === "failed" ? <FailureNote failure={action.failure} onClose={onClose} /> : null;
}
