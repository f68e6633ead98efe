import { useId, useState } from "react";
import { useAction, useParts } from "./console-context.ts";
import { ActionFailure } from "./failure-note.tsx";

export function SignIn() {
  const { api, client } = useParts();
  const { action, run, clear } = useAction();
  const [token, setToken] = useState("");
  const inputId = useId();
  return (
    <main className="sign-in">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          run(async () => {
            await api.signIn(token.trim());
            client.open();
          });
        }}
      >
        <h1>Apollo</h1>
        <label htmlFor={inputId}>Access token</label>
        <input
          id={inputId}
          type="password"
          autoComplete="off"
          autoFocus
          required
          spellCheck={false}
          value={token}
          onChange={(event) => {
            clear();
            setToken(event.target.value);
          }}
        />
        <button className="button button-primary" disabled={action.state === "pending" || token.trim() === ""}>
          {action.state === "pending" ? "Signing in…" : "Sign in"}
        </button>
        <ActionFailure action={action} onClose={clear} />
        {action.state === "failed" ? null : (
          <p className="note">
            When it starts, the server says which file holds the admin token. A link ending in #token=TOKEN signs in by
            itself.
          </p>
        )}
      </form>
    </main>
  );
}
