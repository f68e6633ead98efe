import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { AddressSource } from "../network/address-source.ts";
import type { LocalPort } from "../network/local-port.ts";
import { parsePluginCall } from "../network/parse-plugin-call.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { HttpRequest, HttpResponse } from "../platform/ports/http.ts";
import type { Log } from "../platform/ports/log.ts";
import type { UnixListener } from "../platform/ports/unix-listener.ts";
import type { Wire, Wiring } from "../platform/ports/wiring.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import type { AttachPart } from "./attach-part.ts";
import type { BridgeFor } from "./local-network.ts";
import type { DockerPlugin } from "./docker-plugin.ts";
import { ENGINE_OWNER, deviceOf } from "./docker-plugin.ts";
import { keepListening } from "./local-socket-part.ts";

export interface DockerPluginPartOptions {
  readonly state: AgentState;
  readonly plugin: DockerPlugin;
  readonly attach: Pick<AttachPart, "containers">;
  readonly wiring: Pick<Wiring, "observe" | "mend" | "disconnect">;
  readonly book: AddressSource;
  readonly bridgeFor: BridgeFor;
  readonly listener: UnixListener;
  readonly clock: Clock;
  readonly log: Log;
  /** Where the engine finds it: its name is the driver's. */
  readonly path: string;
}

export interface DockerPluginPart extends AgentPart {
  /** The host's ends of the engine's endpoints; null before the first look. */
  wiredPorts(): readonly LocalPort[] | null;
}

const MODE = 0o600;
const BODY_BYTES_MAX = 1024 * 1024;
/** The engine holds locks while it waits. All that is done here is files and `ip`: longer than this, something is stuck. */
const ANSWER_MS_MAX = 4000;
/** Twice this long something must look left behind before it is taken away: joins and starts are on their way. */
const SWEEP_MS = 15_000;
const CONTENT_TYPE = "application/vnd.docker.plugins.v1.1+json";

/** Serves the engine's plugin socket, and takes away what the engine could not tell us to while we were not there. */
export function createDockerPluginPart(options: DockerPluginPartOptions): DockerPluginPart {
  const { path, clock } = options;
  const sweeper = new Sweeper(options);
  return {
    name: "docker-plugin",
    wiredPorts: () => sweeper.ports,
    run: async (signal) => {
      const sweep = async (): Promise<void> => {
        while (!signal.aborted) {
          await sweeper.sweep();
          await clock.sleep(SWEEP_MS, signal);
        }
      };
      const listening = keepListening(options, signal, {
        path,
        mode: MODE,
        bodyBytesMax: BODY_BYTES_MAX,
        requestTimeoutMs: ANSWER_MS_MAX * 2,
        handle: (request) => answerEngine(options, request, () => sweeper.sweep()),
      });
      await Promise.all([listening, sweep()]);
    },
  };
}

async function answerEngine(
  { plugin, clock, log }: DockerPluginPartOptions,
  request: HttpRequest,
  changed: () => Promise<void>,
): Promise<HttpResponse> {
  const done = new AbortController();
  const late = clock.sleep(ANSWER_MS_MAX, done.signal).then((): never => {
    throw new AppError("unavailable", `Cannot answer the engine: not done after ${ANSWER_MS_MAX} ms`, {
      hint: "See the agent's log: journalctl -u apollo-agent",
    });
  });
  // Nobody waits for it once there is an answer.
  late.catch(() => undefined);
  try {
    const call = parsePluginCall(request.path, new TextDecoder().decode(await request.body()));
    // How the engine learns which calls a plugin leaves out.
    if (call === null) return json(404, { Err: `Cannot answer ${request.path}: Apollo knows no such call` });
    const value = await Promise.race([plugin.answer(call), late]);
    if (call.call === "NetworkDriver.Join" || call.call === "NetworkDriver.Leave") void changed();
    return json(200, value);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    log.warn(error.message, { call: request.path, hint: error.hint });
    const text = error.hint === undefined ? error.message : `${error.message}. ${error.hint}`;
    return json(500, { Err: text });
  } finally {
    done.abort();
  }
}

/** Level-triggered: compares what the engine said and what is there. */
class Sweeper {
  readonly #options: DockerPluginPartOptions;
  ports: readonly LocalPort[] | null = null;
  /** What looked left behind in the last sweep. */
  #suspects: ReadonlySet<string> = new Set();
  #suspectsAtMs = 0;

  constructor(options: DockerPluginPartOptions) {
    this.#options = options;
  }

  async sweep(): Promise<void> {
    try {
      await this.#sweep();
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      this.#options.log.warn(error.message, { hint: error.hint });
    }
  }

  async #sweep(): Promise<void> {
    const { state, wiring, plugin, book, clock } = this.#options;
    const [{ wires }, { endpoints }] = await Promise.all([wiring.observe(), plugin.state()]);
    const byDevice = new Map(wires.map((wire) => [wire.device, wire]));
    const ports: LocalPort[] = [];
    for (const [id, { network, address, address6, mac }] of Object.entries(endpoints)) {
      const device = deviceOf(id);
      const wire = byDevice.get(device);
      if (wire === undefined) continue;
      const { index } = wire;
      const known = { addresses: [address], ...(address6 === undefined ? {} : { addresses6: [address6] }) };
      ports.push({ network, device, index, mac, ...known, container: this.#containerWith(address) });
      await this.#mend(wire, network);
    }
    if (JSON.stringify(ports) !== JSON.stringify(this.ports)) {
      this.ports = ports;
      state.emit("wired");
    }
    // Sweeps also follow each join: only what stays so for the whole time is left behind.
    if (clock.monotonicMs() - this.#suspectsAtMs < SWEEP_MS && this.#suspects.size > 0) return;
    const strays = wires.filter((wire) => wire.device.startsWith("vethep") && wire.namespace === null);
    const lost = this.#lostAddresses();
    for (const { device } of strays) if (this.#suspects.has(device)) await wiring.disconnect(device);
    for (const owner of lost) if (this.#suspects.has(owner)) await book.release(owner);
    this.#suspects = new Set([...strays.map(({ device }) => device), ...lost]);
    this.#suspectsAtMs = clock.monotonicMs();
  }

  /** Owners of addresses that no container has; nothing is known of them before the engine has listed its containers. */
  #lostAddresses(): readonly string[] {
    const containers = this.#options.attach.containers();
    if (containers === null) return [];
    const used = new Set(containers.flatMap(({ addresses }) => Object.values(addresses)));
    return [...this.#options.book.owners()].flatMap(([owner, address]) =>
      owner.startsWith(ENGINE_OWNER) && !used.has(address) ? [owner] : [],
    );
  }

  #containerWith(address: Ipv4): string {
    const containers = this.#options.attach.containers() ?? [];
    return containers.find(({ addresses }) => Object.values(addresses).includes(address))?.name ?? "";
  }

  /** A bridge that was deleted and made again has lost its ports. */
  async #mend({ device, bridge, up }: Wire, network: string): Promise<void> {
    const { bridgeFor, wiring } = this.#options;
    const wanted = bridgeFor(network)?.bridge;
    if (wanted !== undefined && (bridge !== wanted || !up)) await wiring.mend({ device, bridge: wanted });
  }
}

function json(status: number, value: object): HttpResponse {
  return { status, headers: { "content-type": CONTENT_TYPE }, body: JSON.stringify(value) };
}
