import { join } from "node:path";
import { defaultProxySettings } from "../ingress/proxy-settings.ts";
import { PROBE_PORT } from "../network/links/probe-datagram.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { nodeMac } from "../platform/digest/node-mac.ts";
import { HaproxyProxy } from "../platform/haproxy/haproxy-proxy.ts";
import { openKeyFile } from "../platform/tls/wireguard-keys.ts";
import { readFastPathObject } from "../platform/linux/fast-path/fast-path-object.ts";
import { LinuxFastPath } from "../platform/linux/fast-path/linux-fast-path.ts";
import { LinuxBridgePorts } from "../platform/linux/linux-bridge-ports.ts";
import { LinuxHostNetwork } from "../platform/linux/host-network.ts";
import { LinuxRuleCounters } from "../platform/linux/rule-counters.ts";
import { LinuxHostTraffic } from "../platform/linux/host-traffic.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import { BunUnixListener } from "../platform/http/bun-unix-listener.ts";
import { LinuxWiring } from "../platform/linux/linux-wiring.ts";
import { ProcessRunner } from "../platform/linux/process-runner.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import { proxyPaths } from "../platform/ports/proxy.ts";
import { socketProber } from "../platform/probe/socket-prober.ts";
import { BunDatagramClient } from "../platform/udp/bun-datagram-client.ts";
import { BunListener } from "../platform/udp/bun-listener.ts";
import { LinuxProbeSockets } from "../platform/udp/probe-sockets.ts";
import type { MakeParts } from "./agent.ts";
import { defaultBridge } from "./local-network.ts";
import { PLUGIN_SOCKET, createAttachParts } from "./attach-parts.ts";
import { createDnsPart } from "./dns-part.ts";
import { createFastPathPart } from "./fast-path-part.ts";
import { createImportsPart } from "./imports-part.ts";
import { createIngressPart } from "./ingress-part.ts";
import { createKeyPart } from "./key-part.ts";
import { createLinksPart } from "./links-part.ts";
import { createLocalSocketPart } from "./local-socket-part.ts";
import { createNetworkPart } from "./network-part.ts";
import { createPolicyPart } from "./policy-part.ts";
import { createPortsPart } from "./ports-part.ts";
import { createOutsidePart } from "./outside-part.ts";
import { createRegistrationPart } from "./registration-part.ts";
import { ResolverFile } from "./resolver-file.ts";

export interface HostPartsOptions {
  readonly engine: Engine;
  readonly log: Log;
  readonly dataDir: string;
  /** Where HAProxy's files and socket lie; gone with a reboot, as HAProxy itself. */
  readonly runDir: string;
  /** See `AgentConfig`. */
  readonly keyRotationDays: number;
  /** False: the operator wants none. */
  readonly fastPath: boolean;
}

/** The private halves of this host's WireGuard keys; readable by root alone. */
export const KEY_FILE = "wireguard-keys.json";
const DAY_MS = 86_400_000;

/** The parts that act on this machine, on its real kernel, sockets, resolver and HAProxy. */
export function hostParts({ engine, log, dataDir, runDir, keyRotationDays, fastPath }: HostPartsOptions): MakeParts {
  const [clock, random] = [systemClock, systemRandom];
  const runner = new ProcessRunner();
  return (state, book) => {
    const keys = createKeyPart({
      state,
      openKeys: () => openKeyFile(join(dataDir, KEY_FILE), clock.nowMs()),
      clock,
      log,
      rotateEveryMs: keyRotationDays * DAY_MS,
    });
    const privateKeyOf = (publicKey: string): string | null => keys.privateKeyOf(publicKey);
    const kernel = new LinuxHostNetwork({ runner, clock, privateKeyOf });
    const network = createNetworkPart({ state, engine, clock, log, network: kernel });
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
      book,
      listener,
      wiring: new LinuxWiring({ runner }),
      fileAt: diskFile,
      pluginSocket: PLUGIN_SOCKET,
    });
    state.on("wired", () => state.setPorts("wired", attach.wiredPorts()));
    return {
      network,
      others: [
        keys,
        createLinksPart({
          state,
          sockets: new LinuxProbeSockets(PROBE_PORT),
          makeMac: nodeMac,
          clock,
          random,
          log,
          gateway: () => network.gateway(),
        }),
        createPolicyPart({
          state,
          counters: new LinuxRuleCounters({ runner }),
          clock,
          log,
          onGuarded: (policy) => state.setSlowRanges("policy", { policy, virtual: [] }),
        }),
        createPortsPart({ state, engine, ports: new LinuxBridgePorts({ runner, clock }), clock, log }),
        createFastPathPart({
          state,
          fastPath: new LinuxFastPath({ runner, directory: `${runDir}/bpf`, object: readFastPathObject }),
          clock,
          log,
          enabled: fastPath,
        }),
        ...attach.parts,
        createLocalSocketPart({ state, listener, clock, log, path: `${runDir}/agent.sock` }),
        createRegistrationPart({ state, engine, clock, log, reportsKnown: () => state.reportsKnown }),
        createImportsPart({ state, prober: socketProber, clock }),
        createOutsidePart({
          state,
          traffic: new LinuxHostTraffic({ runner, isHidden: (address) => address === network.gateway() }),
          clock,
          log,
        }),
        createDnsPart({
          state,
          listener: new BunListener(),
          datagrams: new BunDatagramClient(clock),
          clock,
          random,
          log,
          gateway: () => network.gateway(),
          gateway6: () => network.gateway6(),
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
