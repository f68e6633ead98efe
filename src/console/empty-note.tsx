/** Why there is nothing to see here, and the command that changes it. */
export function EmptyNote({ text, command }: { readonly text: string; readonly command?: string }) {
  return (
    <div className="empty">
      <p>{text}</p>
      {command === undefined ? null : (
        <pre>
          <code>{command}</code>
        </pre>
      )}
    </div>
  );
}
