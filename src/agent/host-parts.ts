import { join } from "node:path";
import { defaultProxySettings } from "../ingress/proxy-settings.ts";
import { hostRanges } from "../network/plan-network.ts";
import { PROBE_PORT } from "../network/links/probe-datagram.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import { nodeMac } from "../platform/digest/node-mac.ts";
import { HaproxyProxy } from "../platform/haproxy/haproxy-proxy.ts";
import { openKeyFile } from "../platform/tls/wireguard-keys.ts";
import { readFastPathObject } from "../platform/linux/fast-path/fast-path-object.ts";
import { LinuxFastPath } from "../platform/linux/fast-path/linux-fast-path.ts";
import { LinuxBridgePorts } from "../platform/linux/linux-bridge-ports.ts";
import { LinuxHostNetwork } from "../platform/linux/host-network.ts";
import { LinuxLinkCounters } from "../platform/linux/linux-link-counters.ts";
import { LinuxProcessWatcher } from "../platform/linux/linux-process-watcher.ts";
import { LinuxNetInspector } from "../platform/linux/linux-net-inspector.ts";
import { LinuxRuleCounters } from "../platform/linux/rule-counters.ts";
import { LinuxHostExaminer } from "../platform/linux/linux-host-examiner.ts";
import { ownArgv } from "../platform/linux/own-argv.ts";
import { LinuxHostTraffic } from "../platform/linux/host-traffic.ts";
import { diskFile } from "../platform/files/disk-file.ts";
import { BunHttpListener } from "../platform/http/bun-http-listener.ts";
import { isApolloAt } from "../platform/http/is-apollo.ts";
import { BunUnixListener } from "../platform/http/bun-unix-listener.ts";
import { LinuxWiring } from "../platform/linux/linux-wiring.ts";
import { LinuxSegments } from "../platform/linux/linux-segments.ts";
import { ProcessRunner } from "../platform/linux/process-runner.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Random } from "../platform/ports/random.ts";
import { proxyPaths } from "../platform/ports/proxy.ts";
import { httpsServerApi } from "../platform/server-client/https-server-api.ts";
import { readHostInfo } from "../platform/linux/read-host-info.ts";
import { socketProber } from "../platform/probe/socket-prober.ts";
import { BunDatagramClient } from "../platform/udp/bun-datagram-client.ts";
import { BunListener } from "../platform/udp/bun-listener.ts";
import { UdpPortExchange } from "../platform/udp/udp-port-exchange.ts";
import { LinuxProbeSockets } from "../platform/udp/probe-sockets.ts";
import { type ConsulAccess } from "./agent-config.ts";
import type { MakeParts } from "./agent.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import { joinBooks } from "./address-books.ts";
import { createDeclaredNetworksPart } from "./declared-networks-part.ts";
import { localNetworks } from "./local-network.ts";
import { PLUGIN_SOCKET, createAttachParts } from "./attach-parts.ts";
import { registerDoctorQueries } from "./doctor-queries.ts";
import { createConsulPart } from "./consul-part.ts";
import { createDnsPart } from "./dns-part.ts";
import { createFastPathPart } from "./fast-path-part.ts";
import { createImportsPart } from "./imports-part.ts";
import { createIngressPart } from "./ingress-part.ts";
import { createKeyPart } from "./key-part.ts";
import { createLinkBytesPart } from "./link-bytes-part.ts";
import { createLinksPart } from "./links-part.ts";
import { createLocalSocketPart } from "./local-socket-part.ts";
import { type NetworkPart, createNetworkPart } from "./network-part.ts";
import { createPolicyPart } from "./policy-part.ts";
import { createPortsPart } from "./ports-part.ts";
import { createProbeAddressPart } from "./probe-address-part.ts";
import { createOutsidePart } from "./outside-part.ts";
import { createRegistrationPart } from "./registration-part.ts";
import { registerTraceQueries } from "./trace-queries.ts";
import { ResolverFile } from "./resolver-file.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";

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
  /** See `AgentConfig`. */
  readonly serviceTags?: readonly string[];
  readonly consul: {
    readonly access: ConsulAccess;
    /** See `AgentConfig`. */
    readonly scriptChecks: boolean;
    readonly credential: string;
    readonly caPem: string;
    /** Of this program. */
    readonly version: string;
  };
}

/** The private halves of this host's WireGuard keys; readable by root alone. */
export const KEY_FILE = "wireguard-keys.json";
const DAY_MS = 86_400_000;

/** What all parts of this machine are made with. */
interface Around {
  readonly options: HostPartsOptions;
  readonly state: AgentState;
  readonly engine: Engine;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
  readonly runner: ProcessRunner;
}

/** The parts that act on this machine, on its real kernel, sockets, resolver and HAProxy. */
export function hostParts(options: HostPartsOptions): MakeParts {
  const { engine, log, dataDir, runDir, keyRotationDays } = options;
  const [clock, random] = [systemClock, systemRandom];
  const runner = new ProcessRunner();
  return (state, book, networkBook) => {
    const around: Around = { options, state, engine, log, clock, random, runner };
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
    const fastPath = new LinuxFastPath({ runner, directory: `${runDir}/bpf`, object: readFastPathObject });
    const listener = new BunUnixListener({ clock, log });
    const attach = attachParts(around, network, { book: joinBooks(book, networkBook), listener });
    const declared = createDeclaredNetworksPart({
      state,
      segments: new LinuxSegments({ runner }),
      engine,
      book: networkBook,
      clock,
      log,
      gateway: () => network.gateway(),
      gateway6: () => network.gateway6(),
    });
    answerQueries(around, network);
    return {
      network: { ...network, declared: () => declared.usable() },
      others: [
        keys,
        declared,
        createProbeAddressPart({ state, book, clock, log, engineNetwork: () => network.engineNetwork() }),
        ...linkParts(around, network),
        ...filterParts(around, fastPath),
        ...attach.parts,
        createLocalSocketPart({ state, listener, clock, log, path: `${runDir}/agent.sock` }),
        ...serviceParts(around, network),
        ...clientParts(around, network, fastPath),
      ],
    };
  };
}

/** What Apollo plugs in beside the engine: attachments, CNI, Docker's plugin protocol. */
function attachParts(
  { options, state, engine, clock, log, runner }: Around,
  network: NetworkPart,
  shared: Pick<Parameters<typeof createAttachParts>[0], "book" | "listener">,
): ReturnType<typeof createAttachParts> {
  const attach = createAttachParts({
    ...shared,
    state,
    engine,
    clock,
    log,
    dataDir: options.dataDir,
    bridgeFor: localNetworks(
      state,
      () => network.gateway(),
      () => network.gateway6(),
    ),
    wiring: new LinuxWiring({ runner }),
    fileAt: diskFile,
    pluginSocket: PLUGIN_SOCKET,
  });
  state.expectPorts("wired");
  state.on("wired", () => {
    const ports = attach.wiredPorts();
    if (ports !== null) state.setPorts("wired", ports);
  });
  return attach;
}

/** What servers and operators ask of this machine. */
function answerQueries({ options, state, engine, clock, runner }: Around, network: NetworkPart): void {
  registerDoctorQueries({
    state,
    examiner: new LinuxHostExaminer({ runner, engine, dataDir: options.dataDir, ownRanges: hostRanges }),
    exchange: new UdpPortExchange(clock),
    clock,
  });
  registerTraceQueries({
    state,
    engine,
    clock,
    gateway: () => network.gateway(),
    inspector: new LinuxNetInspector({ runner, probeArgv: [...ownArgv(), "net", "probe"] }),
  });
}

/** Links to the other hosts: their state, and what goes over them. */
function linkParts({ state, clock, random, log, runner }: Around, network: NetworkPart): readonly AgentPart[] {
  return [
    createLinksPart({
      state,
      sockets: new LinuxProbeSockets(PROBE_PORT),
      makeMac: nodeMac,
      clock,
      random,
      log,
      gateway: () => network.gateway(),
    }),
    createLinkBytesPart({ state, counters: new LinuxLinkCounters({ runner }), clock }),
  ];
}

/** What may pass between containers, and the fast way for it. */
function filterParts(
  { options, state, engine, clock, log, runner }: Around,
  fastPath: LinuxFastPath,
): readonly AgentPart[] {
  return [
    createPolicyPart({
      state,
      counters: new LinuxRuleCounters({ runner }),
      clock,
      log,
      onGuarded: (policy) => state.setSlowRanges("policy", { policy, virtual: [] }),
    }),
    createPortsPart({ state, engine, ports: new LinuxBridgePorts({ runner, clock }), clock, log }),
    createFastPathPart({ state, fastPath, clock, log, enabled: options.fastPath }),
  ];
}

/** What services there are, here and outside, and the addresses that they have for life. */
function serviceParts(
  { options, state, engine, clock, log, runner }: Around,
  network: NetworkPart,
): readonly AgentPart[] {
  return [
    createRegistrationPart({
      state,
      engine,
      clock,
      log,
      tags: options.serviceTags ?? [],
      processes: new LinuxProcessWatcher({ log }),
      reportsKnown: () => state.reportsKnown,
    }),
    createImportsPart({ state, prober: socketProber, clock }),
    createOutsidePart({
      state,
      traffic: new LinuxHostTraffic({
        runner,
        isHidden: (address) => address === network.gateway() || address === network.gateway6(),
      }),
      clock,
      log,
    }),
  ];
}

/** How clients find services: DNS, Consul's API, ingress. */
function clientParts(
  { options, state, clock, random, log, runner }: Around,
  network: NetworkPart,
  fastPath: LinuxFastPath,
): readonly AgentPart[] {
  const { consul, dataDir, runDir } = options;
  const paths = proxyPaths(runDir);
  return [
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
      kernel: fastPath.answers,
    }),
    createConsulPart({
      ...consul,
      scripts: () => (consul.scriptChecks ? "all" : "off"),
      state,
      listener: new BunHttpListener({ clock, log }),
      api: httpsServerApi({ caPem: consul.caPem, serverName: SERVER_TLS_NAME }),
      isOurs: isApolloAt,
      gateway: () => network.gateway(),
      hostInfo: () => readHostInfo(clock.nowMs()),
      digest: nodeDigest,
      clock,
      random,
      log,
    }),
    createIngressPart({
      state,
      proxy: new HaproxyProxy({ paths, runner, clock }),
      clock,
      log,
      settings: defaultProxySettings(paths),
    }),
  ];
}
