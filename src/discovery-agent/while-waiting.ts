/** What a server answers over HTTP before it is a member of any cluster: that there is no leader, as Consul's does. */
import { json as jsonAnswer } from "../api/native/respond.ts";
import { renderError } from "../api/consul/respond.ts";
import { noLeader } from "../agent/consul-mirror.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { BunHttpListener } from "../platform/http/bun-http-listener.ts";
import type { HttpHandler } from "../platform/ports/http.ts";
import type { Log } from "../platform/ports/log.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";

export interface Waiting {
  readonly config: Pick<DiscoveryConfig, "node" | "bind" | "client" | "httpPort" | "clusterPort" | "datacenter">;
  readonly log: Log;
  /** `PUT agent/leave`. */
  readonly leave: () => Promise<void>;
}

const GRACE_MS = 300;
const ALIVE = 1;

/** Runs `task` and answers meanwhile. @throws AppError `conflict` when the port is taken. */
export async function whileWaiting<Value>(waiting: Waiting, task: () => Promise<Value>): Promise<Value> {
  const { client: address, httpPort: port } = waiting.config;
  const listener = new BunHttpListener({ clock: systemClock, log: waiting.log });
  const binding = listener.listen({ address, port, handle: waitingHandler(waiting), isLong: () => false });
  try {
    return await task();
  } finally {
    await binding.close(GRACE_MS);
  }
}

export function waitingHandler({ config, leave }: Omit<Waiting, "log">): HttpHandler {
  const { node: Name, bind: Addr, clusterPort: Port, datacenter: dc } = config;
  const known: Readonly<Record<string, unknown>> = {
    "/v1/status/leader": "",
    "/v1/status/peers": [],
    "/v1/agent/members": [{ Name, Addr, Port, Tags: { role: "consul", dc }, Status: ALIVE }],
  };
  return async ({ method, path }) => {
    if (method === "GET" && path in known) return jsonAnswer(200, known[path]);
    if (method === "PUT" && path === "/v1/agent/leave") {
      await leave();
      return jsonAnswer(200, null);
    }
    return renderError(noLeader());
  };
}
