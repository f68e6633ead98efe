/** A server that is reached by IPv6 alone, over real TLS, and what it says to a host that others reach so. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { joinCluster } from "../../src/agent/join.ts";
import { parseIpv6 } from "../../src/model/ip6.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { systemRandom } from "../../src/platform/clock/system-random.ts";
import { nodeDigest } from "../../src/platform/digest/node-digest.ts";
import { diskFile } from "../../src/platform/files/disk-file.ts";
import { httpsJoinClient } from "../../src/platform/server-client/https-join-client.ts";
import { SqliteStore } from "../../src/platform/sqlite/sqlite-store.ts";
import { makeServerConfig } from "../../src/server/server-config.ts";
import { type StartedServer, startServer } from "../../src/server/start-server.ts";
import { SERVER_TLS_NAME } from "../../src/model/server-name.ts";

const nothing = (): void => undefined;
const quiet = { debug: nothing, info: nothing, warn: nothing, error: nothing };
const directory = mkdtempSync(join(tmpdir(), "apollo-six-"));
const stops: (() => Promise<void>)[] = [];

async function start(range6: string | undefined): Promise<StartedServer> {
  const stop = new AbortController();
  const machine = { version: "0.1.0", ownAddress: "127.0.0.1" };
  const input = { dataDir: directory, listen: "[::1]:8443", advertise: "[::1]", consulListen: "off", range6 };
  const config = { ...makeServerConfig([input], machine), port: 0 };
  const store = SqliteStore.open(join(directory, "state.db"));
  const adapters = { store, clock: systemClock, random: systemRandom, digest: nodeDigest, log: quiet };
  const server = await startServer(config, adapters, stop.signal);
  stops.push(async () => {
    stop.abort();
    await server.http.close(0);
    await server.done;
    await store.close();
  });
  return server;
}

const end = async (): Promise<void> => stops.pop()?.();

afterAll(async () => {
  await end();
  rmSync(directory, { recursive: true, force: true });
});

test("a host joins over IPv6 with an IPv6 address; a range that is given later is the cluster's from then on", async () => {
  const first = await start(undefined);
  expect(first.url).toBe("https://[::1]:0");
  const url = `https://[::1]:${first.http.port}`;
  const wish = {
    serverUrl: url,
    token: first.joinToken,
    name: "h1",
    address: parseIpv6("2001:db8::7"),
    labels: {},
    resources: { cpus: 1, memoryMiB: 512, diskMiB: 1024 },
    hostRanges: ["192.0.2.0/24"],
  };
  await joinCluster(wish, httpsJoinClient(SERVER_TLS_NAME), diskFile(join(directory, "agent.json")));
  const [host] = [...first.cluster.state.hosts.values()];
  expect([host?.name, host?.address as string]).toEqual(["h1", "2001:db8::7"]);
  expect(first.cluster.state.settings.range6 ?? null).toBeNull();
  await end();

  const second = await start("fd12:3456:789a::/64");
  expect(second.cluster.state.settings.range6).toBe("fd12:3456:789a::/64");
  await end();
  // It is kept, whatever a later start says.
  const third = await start("fd00:1::/64");
  expect(third.cluster.state.settings.range6).toBe("fd12:3456:789a::/64");
  expect(third.cluster.state.settings.range).toBe("10.2.0.0/16");
});
