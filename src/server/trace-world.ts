import { explainName, type ExplainInput } from "../discovery/explain-name.ts";
import type { TraceWorld } from "../network/trace/run-trace.ts";
import { askHost } from "./ask-host.ts";
import type { ClusterServer } from "./cluster-server.ts";

/** A trace asks agents by the server's connections to them, and the server's own catalog for what is true. */
export function traceWorld(server: ClusterServer, known: () => ExplainInput): TraceWorld {
  const { state, hub, clock } = server;
  const connected = [...state.hosts.values()].filter(({ id }) => hub.session(id) !== null);
  return {
    ask: (host, question) => askHost(server, host, question),
    hosts: connected.map(({ name }) => name).toSorted(),
    truth: async (name, family) => {
      const { code, answers } = explainName(known(), name, family === 4 ? "A" : "AAAA");
      return code === "FORWARDED" ? null : answers.map(({ data }) => data);
    },
    clock,
  };
}
