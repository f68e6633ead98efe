import { AppError } from "../model/error.ts";
import { carriedNetworks } from "../network/declared-network.ts";
import { LinkTotals } from "../network/links/link-totals.ts";
import { LINK_SETS, LINK_SETS6 } from "../network/links/render-link-counters.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { LinkCounters } from "../platform/ports/link-counters.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";

export interface LinkBytesPartOptions {
  readonly state: AgentState;
  readonly counters: LinkCounters;
  readonly clock: Clock;
}

/** As often as links tell the server what was counted; and of what a change of the rules loses, this much is lost at most. */
const COUNT_MS = 5000;
/** While nothing goes anywhere: each look is up to four processes, since nft lists one set at a time. */
const COUNT_IDLE_MS = 15_000;

/** Adds up what goes to other hosts the kernel's own way, see `renderLinkCounters`. */
export function createLinkBytesPart({ state, counters, clock }: LinkBytesPartOptions): AgentPart {
  const totals = new LinkTotals();
  let counted = "";

  /** Whether anything went to other hosts, or came, since the look before. */
  async function count(): Promise<boolean> {
    const { identity, peers } = state;
    if (identity === null || identity.blocks.length === 0) return false;
    const { range6 = null } = identity.settings;
    const setsOf = (way: "sent" | "received"): readonly string[] =>
      range6 === null ? [LINK_SETS[way]] : [LINK_SETS[way], LINK_SETS6[way]];
    const [sent, received] = await Promise.all([counters.bytes(setsOf("sent")), counters.bytes(setsOf("received"))]);
    const others = [...peers.values()].filter(({ id }) => id !== identity.hostId);
    const routed = carriedNetworks(state.networkConfig.networks).filter(({ layer2 }) => !layer2);
    totals.observe({ sent, received }, others, { range6, routed: new Set(routed.map(({ name }) => name)) });
    state.slowLinkBytes = totals.all();
    const text = JSON.stringify([[...sent], [...received]]);
    const moved = text !== counted;
    counted = text;
    return moved;
  }

  return {
    name: "link-bytes",
    run: async (signal) => {
      while (!signal.aborted) {
        const moved = await count().catch((error: unknown) => {
          // The table is being made anew, or nft is missing, which the network part says: the next look will tell.
          if (!(error instanceof AppError)) throw error;
          return true;
        });
        await clock.sleep(moved ? COUNT_MS : COUNT_IDLE_MS, signal);
      }
    },
  };
}
