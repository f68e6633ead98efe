import { AppError } from "../model/error.ts";
import { probeAddressOf } from "../network/blocks.ts";
import { mayGiveAway } from "../network/plan-engine-network.ts";
import type { ReadyEngineNetwork } from "../network/plan-host.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Log } from "../platform/ports/log.ts";
import type { AddressBook } from "./address-book.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import type { Topic } from "./agent-events.ts";

export interface ProbeAddressPartOptions {
  readonly state: AgentState;
  readonly book: Pick<AddressBook, "take" | "release" | "addressOf">;
  /** What containers are started on; null until it is there. */
  readonly engineNetwork: () => ReadyEngineNetwork | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** In the address book; no target of an attachment begins so. */
export const PROBE_OWNER = "host:probe";
/** While no block has room, it is tried again after this. */
const RETRY_MS = 10_000;
const TOPICS: readonly Topic[] = ["identity", "conditions", "addresses", "connection"];
const HELPFUL: readonly Topic[] = ["identity", "connection"];

/**
 * Sees to it that this host has an address of its own to be probed at. The first address of the first block is kept out of
 * networks that we make in the engine. Where the engine's default bridge is ours (`--bridge`, `--fixed-cidr`) it is the first
 * that the engine gives to a container, and nothing can be kept out there: such a host takes one from its book, which
 * never gives out what the engine may.
 */
export function createProbeAddressPart(options: ProbeAddressPartOptions): AgentPart {
  // From the disk: a restarted agent goes on with the one that others know.
  options.state.setProbeAddress(options.book.addressOf(PROBE_OWNER));
  return { name: "probe-address", run: (signal) => run(options, signal) };
}

async function run(options: ProbeAddressPartOptions, signal: AbortSignal): Promise<void> {
  const { state, clock, log } = options;
  let told = "";
  while (!signal.aborted) {
    const nap = new AbortController();
    const wake = (): void => nap.abort();
    signal.addEventListener("abort", wake);
    let offs = TOPICS.map((topic) => state.on(topic, wake));
    const failure = await keep(options);
    if (failure !== null && failure !== told) log.warn(failure);
    told = failure ?? "";
    if (failure !== null) {
      // To wait for an address was news itself: what can help is a further block, a server, or time.
      for (const off of offs) off();
      const again = new AbortController();
      offs = HELPFUL.map((topic) => state.on(topic, () => again.abort()));
      await clock.sleep(RETRY_MS, AbortSignal.any([again.signal, signal]));
    } else if (!nap.signal.aborted) await clock.sleep(RETRY_MS, nap.signal);
    for (const off of offs) off();
    signal.removeEventListener("abort", wake);
  }
}

/** Null when all is as it should be, or cannot be known yet. */
async function keep({ state, book, engineNetwork }: ProbeAddressPartOptions): Promise<string | null> {
  const network = engineNetwork();
  const { identity } = state;
  // The book parts blocks by what it was told of the engine: an older word of it would be another half.
  if (identity === null || identity.blocks.length === 0 || network === null || network.ipRange !== state.engineRange)
    return null;
  try {
    const held = book.addressOf(PROBE_OWNER);
    const isWanted = mayGiveAway(probeAddressOf({ blocks: identity.blocks }), network);
    // The engine was started with another range, and has it now.
    if (!isWanted || (held !== null && mayGiveAway(held, network))) await book.release(PROBE_OWNER);
    if (isWanted) await book.take(PROBE_OWNER);
    return null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return error.message;
  } finally {
    state.setProbeAddress(book.addressOf(PROBE_OWNER));
  }
}
