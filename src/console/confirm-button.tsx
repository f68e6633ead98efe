import { useId, useRef } from "react";

/** A button that asks before it acts, naming the thing and what will happen to it. */
export function ConfirmButton(props: {
  readonly label: string;
  readonly title: string;
  readonly impact: string;
  readonly confirm: string;
  readonly disabled?: boolean;
  readonly danger?: boolean;
  readonly onConfirm: () => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  const tone = props.danger === true ? "button button-danger" : "button";
  return (
    <>
      <button
        type="button"
        className={tone}
        disabled={props.disabled ?? false}
        onClick={() => dialog.current?.showModal()}
      >
        {props.label}
      </button>
      <dialog ref={dialog} className="dialog" aria-labelledby={titleId}>
        <form method="dialog">
          <h2 id={titleId}>{props.title}</h2>
          <p>{props.impact}</p>
          <div className="dialog-buttons">
            {/* The first button is what Enter presses: keeping things is the safe choice. */}
            <button className="button" autoFocus>
              Cancel
            </button>
            <button
              className={props.danger === true ? "button button-danger-strong" : "button button-primary"}
              onClick={props.onConfirm}
            >
              {props.confirm}
            </button>
          </div>
        </form>
      </dialog>
    </>
  );
}
