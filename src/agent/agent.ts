import type { HostResources } from "../model/host.ts";
import type { HostAddress } from "../model/ip6.ts";
import { LocalHealth } from "../discovery/health/local-health.ts";
import type { CheckRunner } from "../platform/ports/check-runner.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import type { Prober } from "../platform/ports/prober.ts";
import type { Random } from "../platform/ports/random.ts";
import type { StateFile } from "../platform/ports/state-file.ts";
import type { Transport } from "../platform/ports/transport.ts";
import { AddressBook } from "./address-book.ts";
import { AgentState } from "./agent-state.ts";
import type { AgentPart } from "./agent-state.ts";
import { createChecksPart } from "./checks-part.ts";
import { createContainersPart } from "./containers-part.ts";
import type { ContainersPartOptions } from "./containers-part.ts";
import { NetworkBook } from "./network-book.ts";
import { createHealthPart } from "./health-part.ts";
import { createLastKnownPart, loadLastKnown } from "./last-known.ts";
import { createLinkPart } from "./link-part.ts";
import { createLocalHealthPart } from "./local-health-part.ts";

/** What an agent is, whatever world it runs in. */
export interface AgentSettings {
  readonly serverUrls: readonly string[];
  readonly agentVersion: string;
  readonly address: HostAddress;
  readonly findAddress?: () => Promise<HostAddress | null>;
  readonly labels: Readonly<Record<string, string>>;
  /** What is known of another member, from before a removal and a new join, is of no use. */
  readonly hostId?: string;
}

/** The world: the real one, or the simulator's. */
export interface AgentAdapters {
  readonly engine: Engine;
  readonly transport: Transport;
  readonly prober: Prober;
  /** Null: this host runs no checks that clients registered. */
  readonly checkRunner: CheckRunner | null;
  readonly lastKnownFile: StateFile;
  /** Addresses of owners that the engine does not know. */
  readonly addressFile: StateFile;
  /** The same for declared networks. */
  readonly networkFile: StateFile;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly resources: () => Promise<HostResources>;
}

/** The parts that need more of the world than these adapters, made once the state is there. */
export type MakeParts = (
  state: AgentState,
  book: AddressBook,
  networkBook: NetworkBook,
) => {
  /** Also tells containers where to go. */
  readonly network: AgentPart & ContainersPartOptions["network"];
  /** Registration, DNS, ingress. */
  readonly others: readonly AgentPart[];
};

export interface RunningAgent {
  readonly state: AgentState;
  readonly book: AddressBook;
  /** Rejects when a part failed by a programmer's error: the process should end and be started again. */
  readonly done: Promise<void>;
  /** Ends all parts. Containers, DNS names in the kernel and HAProxy are left as they are. */
  stop(): Promise<void>;
}

/** Starts the agent from what it knew last; a server is not needed. @throws AppError when its file cannot be read. */
export async function startAgent(
  settings: AgentSettings,
  adapters: AgentAdapters,
  makeParts: MakeParts,
): Promise<RunningAgent> {
  const { engine, transport, prober, checkRunner, lastKnownFile: file, clock, random, log, resources } = adapters;
  const state = new AgentState();
  state.labels = settings.labels;
  const known = await loadLastKnown(file, log);
  const { hostId } = settings;
  if (known !== null && (hostId === undefined || (known.identity?.hostId ?? hostId) === hostId)) state.restore(known);
  const book = await AddressBook.load({ state, file: adapters.addressFile, clock, log });
  const networkBook = await NetworkBook.load({ state, file: adapters.networkFile, clock, log });
  const { network, others } = makeParts(state, book, networkBook);
  const local = new LocalHealth(clock);
  const parts: readonly AgentPart[] = [
    createLocalHealthPart({ state, local }),
    createLastKnownPart({ state, file, clock, log }),
    network,
    createContainersPart({ state, engine, clock, log, hostAddress: settings.address, network, book }),
    createHealthPart({ state, engine, prober, clock, local }),
    ...(checkRunner === null ? [] : [createChecksPart({ state, runner: checkRunner, clock, random, local })]),
    ...others,
    // Last: what it brings is seen by all the others.
    createLinkPart({ ...settings, state, engine, transport, clock, random, log, resources }),
  ];
  const abort = new AbortController();
  const done = Promise.all(
    parts.map((part) =>
      part.run(abort.signal).catch((error: unknown) => {
        log.error(`The agent's part "${part.name}" failed`, { error });
        abort.abort();
        throw error;
      }),
    ),
  ).then(() => undefined);
  return {
    state,
    book,
    done,
    stop: async () => {
      abort.abort();
      await done;
    },
  };
}
