/** The parts of an agent that serve Consul's API, joined to a real server over TLS, on a free port of loopback. */
import { createConsulPart } from "../../src/agent/consul-part.ts";
import type { ConsulAccess } from "../../src/agent/agent-config.ts";
import { AgentState } from "../../src/agent/agent-state.ts";
import { joinCluster } from "../../src/agent/join.ts";
import { createLinkPart } from "../../src/agent/link-part.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { systemRandom } from "../../src/platform/clock/system-random.ts";
import { nodeDigest } from "../../src/platform/digest/node-digest.ts";
import { BunHttpListener } from "../../src/platform/http/bun-http-listener.ts";
import type { HttpHandler } from "../../src/platform/ports/http.ts";
import type { HttpListener } from "../../src/platform/ports/http-listener.ts";
import { httpsJoinClient } from "../../src/platform/server-client/https-join-client.ts";
import { httpsServerApi } from "../../src/platform/server-client/https-server-api.ts";
import { webSocketTransport } from "../../src/platform/server-client/web-socket-transport.ts";
import { FakeEngine } from "../../src/sim/fake-engine.ts";
import { MemoryFile } from "../../src/sim/memory-file.ts";
import type { StartedServer } from "../../src/server/start-server.ts";
import { SERVER_TLS_NAME } from "../../src/model/server-name.ts";

export interface ConsulAgent {
  readonly state: AgentState;
  /** `http://127.0.0.1:PORT/v1` */
  readonly base: string;
  /** What the listener hands its requests to: for those that do not come from this machine. */
  readonly handle: HttpHandler;
  stop(): Promise<void>;
}

const nothing = (): void => undefined;
const quiet = { debug: nothing, info: nothing, warn: nothing, error: nothing };

export async function startConsulAgent(
  server: StartedServer,
  name: string,
  access: ConsulAccess = "read",
): Promise<ConsulAgent> {
  const url = `https://127.0.0.1:${server.http.port}`;
  const address = parseIpv4("192.0.2.21");
  const resources = { cpus: 1, memoryMiB: 100, diskMiB: 100 };
  const wish = { serverUrl: url, token: server.joinToken, name, address, labels: {}, resources, hostRanges: [] };
  const member = await joinCluster(wish, httpsJoinClient(SERVER_TLS_NAME), new MemoryFile("agent.json", systemClock));
  const state = new AgentState();
  const [clock, random, log] = [systemClock, systemRandom, quiet];
  const tls = { caPem: member.caPem, serverName: SERVER_TLS_NAME };
  const ready = Promise.withResolvers<{ readonly port: number; readonly handle: HttpHandler }>();
  const real = new BunHttpListener({ clock, log });
  const listener: HttpListener = {
    listen: (options) => {
      const binding = real.listen({ ...options, port: 0 });
      ready.resolve({ port: binding.port, handle: options.handle });
      return binding;
    },
  };
  const stop = new AbortController();
  const world = { state, clock, random, log };
  const parts = [
    createLinkPart({
      ...world,
      address,
      serverUrls: [url],
      agentVersion: "0.1.0",
      labels: {},
      engine: new FakeEngine({ clock, images: {} }),
      transport: webSocketTransport({ ...tls, credential: member.credential }),
      resources: () => Promise.resolve(resources),
    }),
    createConsulPart({
      ...world,
      listener,
      access,
      digest: nodeDigest,
      version: "0.1.0",
      credential: member.credential,
      api: httpsServerApi(tls),
      gateway: () => null,
      hostInfo: () => ({}),
      isOurs: () => Promise.resolve(false),
    }),
  ];
  const done = Promise.all(parts.map((part) => part.run(stop.signal)));
  const { port, handle } = await ready.promise;
  // An agent without endpoints says so, too: before, the server tells nobody of its catalog.
  state.setReportsKnown();
  state.setLocalEndpoints([]);
  while (!state.connected || state.hosts.length === 0) await clock.sleep(5);
  const end = async (): Promise<void> => {
    stop.abort();
    await done;
  };
  return { state, base: `http://127.0.0.1:${port}/v1`, handle, stop: end };
}
