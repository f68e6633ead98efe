/** A whole server in this process, with Consul's API on a free port of loopback: for tests and benches over real HTTP. */
import { join } from "node:path";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { systemRandom } from "../../src/platform/clock/system-random.ts";
import { nodeDigest } from "../../src/platform/digest/node-digest.ts";
import { SqliteStore } from "../../src/platform/sqlite/sqlite-store.ts";
import { type ConsulConfig, makeServerConfig } from "../../src/server/server-config.ts";
import { type StartedServer, startServer } from "../../src/server/start-server.ts";

export interface ConsulServer {
  readonly server: StartedServer;
  /** `http://127.0.0.1:PORT/v1` */
  readonly base: string;
  stop(): Promise<void>;
}

const nothing = (): void => undefined;
const quiet = { debug: nothing, info: nothing, warn: nothing, error: nothing };

export async function startConsulServer(
  directory: string,
  acl: "off" | "allow" | "deny",
  change: Partial<ConsulConfig> = {},
): Promise<ConsulServer> {
  const stop = new AbortController();
  const machine = { version: "0.1.0", ownAddress: "127.0.0.1" };
  const made = makeServerConfig([{ dataDir: directory, consulAcl: acl }], machine);
  const consul = { ...made.consul, listen: { bind: "127.0.0.1", port: 0 }, listenIsGiven: true, ...change };
  const store = SqliteStore.open(join(directory, "state.db"));
  const adapters = { store, clock: systemClock, random: systemRandom, digest: nodeDigest, log: quiet };
  const server = await startServer({ ...made, bind: "127.0.0.1", port: 0, consul }, adapters, stop.signal);
  const end = async (): Promise<void> => {
    stop.abort();
    await server.http.close(0);
    await server.done;
    await store.close();
  };
  return { server, base: `http://127.0.0.1:${server.consul.port}/v1`, stop: end };
}
