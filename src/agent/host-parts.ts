import { defaultProxySettings } from "../ingress/proxy-settings.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { HaproxyProxy } from "../platform/haproxy/haproxy-proxy.ts";
import { readFastPathObject } from "../platform/linux/fast-path/fast-path-object.ts";
import { LinuxFastPath } from "../platform/linux/fast-path/linux-fast-path.ts";
import { LinuxBridgePorts } from "../platform/linux/linux-bridge-ports.ts";
import { LinuxHostNetwork } from "../platform/linux/host-network.ts";
import { ProcessRunner } from "../platform/linux/process-runner.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import { proxyPaths } from "../platform/ports/proxy.ts";
import { BunDatagramClient } from "../platform/udp/bun-datagram-client.ts";
import { BunListener } from "../platform/udp/bun-listener.ts";
import type { MakeParts } from "./agent.ts";
import { createDnsPart } from "./dns-part.ts";
import { createFastPathPart } from "./fast-path-part.ts";
import { createIngressPart } from "./ingress-part.ts";
import { createNetworkPart } from "./network-part.ts";
import { createPortsPart } from "./ports-part.ts";
import { createRegistrationPart } from "./registration-part.ts";
import { ResolverFile } from "./resolver-file.ts";

export interface HostPartsOptions {
  readonly engine: Engine;
  readonly log: Log;
  readonly dataDir: string;
  /** Where HAProxy's files and socket lie; gone with a reboot, as HAProxy itself. */
  readonly runDir: string;
  /** False: the operator wants none. */
  readonly fastPath: boolean;
}

/** The parts that act on this machine, on its real kernel, sockets, resolver and HAProxy. */
export function hostParts({ engine, log, dataDir, runDir, fastPath }: HostPartsOptions): MakeParts {
  const [clock, random] = [systemClock, systemRandom];
  const runner = new ProcessRunner();
  return (state) => {
    const network = createNetworkPart({ state, engine, clock, log, network: new LinuxHostNetwork({ runner, clock }) });
    const paths = proxyPaths(runDir);
    return {
      network,
      others: [
        createPortsPart({ state, engine, ports: new LinuxBridgePorts({ runner, clock }), clock, log }),
        createFastPathPart({
          state,
          fastPath: new LinuxFastPath({ runner, directory: `${runDir}/bpf`, object: readFastPathObject }),
          clock,
          log,
          enabled: fastPath,
        }),
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
