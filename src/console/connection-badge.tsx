import { useConnection, useNowMs, useParts } from "./console-context.ts";
import { formatDuration } from "./format-quantity.ts";
import { StateWord } from "./marks.tsx";

/** Whether what is shown is live; if not, since when it is old and when the next try comes. */
export function ConnectionBadge() {
  const { client } = useParts();
  const connection = useConnection();
  const nowMs = useNowMs(500);
  if (connection.state === "live") {
    return (
      <span className="connection" data-connection="live">
        <StateWord tone="good">live</StateWord>
      </span>
    );
  }
  if (connection.state !== "reconnecting") {
    return (
      <span className="connection" data-connection={connection.state}>
        <StateWord tone="busy">connecting…</StateWord>
      </span>
    );
  }
  const oldMs = nowMs - connection.lostAtMs;
  return (
    <span className="connection connection-lost" data-connection="reconnecting" role="status">
      <StateWord tone="warn">{`reconnecting… shown state is ${formatDuration(oldMs)} old`}</StateWord>
      <button type="button" className="button-plain link" onClick={() => client.open()}>
        Retry now
      </button>
    </span>
  );
}
