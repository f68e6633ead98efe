import { useState } from "react";

/** A value in one piece, with a button that copies it. */
export function CopyText({ text, what }: { readonly text: string; readonly what: string }) {
  const [copied, setCopied] = useState(false);
  const copy = (): void => {
    navigator.clipboard.writeText(text).then(
      () => {
        setCopied(true);
        setTimeout(() => setCopied(false), 1500);
      },
      // Without permission the text can still be selected by hand.
      () => setCopied(false),
    );
  };
  return (
    <span className="copy">
      <code>{text}</code>
      <button type="button" className="button-plain copy-button" aria-label={`Copy ${what} ${text}`} onClick={copy}>
        <svg viewBox="0 0 16 16" width="14" height="14" aria-hidden fill="none" stroke="currentColor" strokeWidth="1.5">
          {copied ? (
            <path d="M3 8.5 L6.5 12 L13 4.5" />
          ) : (
            <path d="M5.5 5.5 V2.5 H13.5 V10.5 H10.5 M2.5 5.5 H10.5 V13.5 H2.5 Z" />
          )}
        </svg>
      </button>
    </span>
  );
}
