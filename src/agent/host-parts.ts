import { defaultProxySettings } from "../ingress/proxy-settings.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { HaproxyProxy } from "../platform/haproxy/haproxy-proxy.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import { BunUnixListener } from "../platform/http/bun-unix-listener.ts";
import { LinuxHostNetwork } from "../platform/linux/host-network.ts";
import { LinuxWiring } from "../platform/linux/linux-wiring.ts";
import { ProcessRunner } from "../platform/linux/process-runner.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import { proxyPaths } from "../platform/ports/proxy.ts";
import { BunDatagramClient } from "../platform/udp/bun-datagram-client.ts";
import { BunListener } from "../platform/udp/bun-listener.ts";
import type { MakeParts } from "./agent.ts";
import { defaultBridge } from "./local-network.ts";
import { PLUGIN_SOCKET, createAttachParts } from "./attach-parts.ts";
import { createDnsPart } from "./dns-part.ts";
import { createIngressPart } from "./ingress-part.ts";
import { createLocalSocketPart } from "./local-socket-part.ts";
import { createNetworkPart } from "./network-part.ts";
import { createRegistrationPart } from "./registration-part.ts";
import { ResolverFile } from "./resolver-file.ts";

export interface HostPartsOptions {
  readonly engine: Engine;
  readonly log: Log;
  readonly dataDir: string;
  /** Where HAProxy's files and socket lie; gone with a reboot, as HAProxy itself. */
  readonly runDir: string;
}

/** The parts that act on this machine, on its real kernel, sockets, resolver and HAProxy. */
export function hostParts({ engine, log, dataDir, runDir }: HostPartsOptions): MakeParts {
  const [clock, random] = [systemClock, systemRandom];
  const runner = new ProcessRunner();
  return (state) => {
    const network = createNetworkPart({ state, engine, clock, log, network: new LinuxHostNetwork({ runner, clock }) });
    const paths = proxyPaths(runDir);
    const listener = new BunUnixListener({ clock, log });
    const bridgeFor = defaultBridge(state, () => network.gateway());
    const attach = createAttachParts({
      state,
      engine,
      clock,
      log,
      dataDir,
      bridgeFor,
      listener,
      wiring: new LinuxWiring({ runner }),
      fileAt: diskFile,
      pluginSocket: PLUGIN_SOCKET,
    });
    return {
      network,
      others: [
        ...attach.parts,
        createLocalSocketPart({ state, listener, clock, log, path: `${runDir}/agent.sock` }),
        createRegistrationPart({ state, engine, clock, log, reportsKnown: () => state.reportsKnown }),
        createDnsPart({
          state,
          listener: new BunListener(),
          datagrams: new BunDatagramClient(clock),
          clock,
          random,
          log,
          gateway: () => network.gateway(),
          resolver: new ResolverFile({ dataDirectory: dataDir }),
        }),
        createIngressPart({
          state,
          proxy: new HaproxyProxy({ paths, runner, clock }),
          clock,
          log,
          settings: defaultProxySettings(paths),
        }),
      ],
    };
  };
}
