import { DEFAULT_SETTINGS } from "../model/cluster.ts";
import type { ClusterSettings } from "../model/cluster.ts";
import type { Host } from "../model/host.ts";
import { checkRangeClash, chooseBlock } from "../network/blocks.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import type { Log } from "../platform/ports/log.ts";
import { agentSocket } from "../server/agent-socket.ts";
import { ClusterServer } from "../server/cluster-server.ts";
import { HostMembers } from "../server/host-members.ts";
import type { FakeStore } from "./fake-store.ts";
import type { FakeTransport, FrameStream } from "./fake-transport.ts";
import type { SeededRandom } from "./seeded-random.ts";
import { SimProcess } from "./sim-process.ts";
import { SERVER_NODE } from "./stream-transport.ts";
import type { VirtualClock } from "./virtual-clock.ts";

export interface ServerProcessOptions {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly store: FakeStore;
  readonly network: FakeTransport;
  readonly log: Log;
  /** The credential that a machine shows. */
  readonly credentialOf: (node: string) => string | null;
  /** Of a new cluster, where they are not the usual ones. */
  readonly settings?: Partial<ClusterSettings>;
  /** Sees the server before its loops run. */
  readonly inspect: (server: ClusterServer) => void;
}

/** One run of the product's server, from its start to its end or death. */
export class ServerProcess {
  readonly process: SimProcess;
  readonly cluster: ClusterServer;
  readonly members: HostMembers;
  readonly #options: ServerProcessOptions;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  readonly #stopListening: () => void;

  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    const process = new SimProcess(options.clock);
    const { random, log } = options;
    const cluster = await ClusterServer.open({
      store: process.guard(options.store),
      clock: process.clock,
      random,
      log,
      initial: { ...DEFAULT_SETTINGS, encryption: "off", ...options.settings },
    });
    options.inspect(cluster);
    return new ServerProcess(options, process, cluster);
  }

  private constructor(options: ServerProcessOptions, process: SimProcess, cluster: ClusterServer) {
    this.#options = options;
    this.process = process;
    this.cluster = cluster;
    const { random, clock } = options;
    const deps = { server: cluster, clock: process.clock, random, digest: nodeDigest, chooseBlock, checkRangeClash };
    this.members = new HostMembers(deps);
    this.#stopListening = options.network.listen(SERVER_NODE, (stream) => this.#accept(stream));
    this.#done = cluster.run(this.#abort.signal);
    this.#done.catch((error: unknown) => clock.fail(error));
  }

  kill(): void {
    this.process.kill();
    this.#stopListening();
    this.#options.network.crash(SERVER_NODE);
  }

  /** The orderly end; resolves when its loops have ended. */
  async stop(): Promise<void> {
    this.#stopListening();
    this.#abort.abort();
    await this.#done;
    this.#options.network.crash(SERVER_NODE);
  }

  #accept(stream: FrameStream): void {
    const host = this.#memberOf(stream.peer);
    if (host === null) {
      stream.close();
      return;
    }
    const socket = {
      peer: { address: host.address, loopback: false, secure: true },
      send: (frame: string | Uint8Array): boolean => {
        stream.send(String(frame));
        return true;
      },
      bufferedBytes: () => 0,
      close: () => stream.close(),
    };
    const listener = agentSocket(this.cluster.hub, host.id, this.#options.log)(socket);
    stream.onFrame = (frame) => this.process.enter(() => listener.message(frame));
    stream.onClose = () => this.process.enter(() => listener.closed(1006, ""));
  }

  /** The front door would answer 401. */
  isDenied(node: string): boolean {
    return this.#memberOf(node) === null;
  }

  /** As the server's front door does it: by credential. */
  #memberOf(node: string): Host | null {
    const credential = this.#options.credentialOf(node);
    const hash = credential === null ? "" : nodeDigest.sha256(credential);
    return [...this.cluster.state.hosts.values()].find((host) => host.credentialHash === hash) ?? null;
  }
}
