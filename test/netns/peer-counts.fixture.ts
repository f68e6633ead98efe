// What a host's rules count of one peer, read and added up as its agent does.
import type { Peer } from "../../src/model/host.ts";
import type { HostId } from "../../src/model/ids.ts";
import type { Ipv4 } from "../../src/model/ip.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { DeclaredNetwork } from "../../src/network/declared-network.ts";
import { bridgeOf } from "../../src/network/declared-network.ts";
import type { LinkBytes, OwnersAround } from "../../src/network/links/link-totals.ts";
import { LinkTotals } from "../../src/network/links/link-totals.ts";
import { LINK_SETS, LINK_SETS6, renderLinkCounters } from "../../src/network/links/render-link-counters.ts";
import { LinuxLinkCounters } from "../../src/platform/linux/linux-link-counters.ts";
import type { RulesetPart } from "../../src/network/render-ruleset.ts";
import type { LineRunner } from "../../src/platform/ports/runner.ts";

/** The rules that count, as a host with these networks has them. */
export function countAll(
  networks: readonly DeclaredNetwork[],
  around: { readonly range: string; readonly range6: string; readonly fixed: readonly Ipv4[] },
): RulesetPart {
  const inside = ["apollo0", ...networks.map(({ vni }) => bridgeOf(vni))];
  return renderLinkCounters({
    ...around,
    blockPrefix: 24,
    inside,
    routed: networks.filter(({ layer2 }) => !layer2),
  });
}

const ID = "peer" as HostId;

export class PeerCounts {
  readonly #counters: LinuxLinkCounters;
  readonly #peer: Peer;
  readonly #around: OwnersAround;
  readonly #totals = new LinkTotals();

  constructor(runner: LineRunner, held: Pick<Peer, "blocks" | "networks">, around: OwnersAround) {
    this.#counters = new LinuxLinkCounters({ runner });
    this.#peer = { id: ID, name: "peer", address: parseIpv4("192.0.2.2"), ...held };
    this.#around = around;
  }

  /** Bytes that went to the peer and came from it while `act` ran. */
  async during(act: () => Promise<void>): Promise<LinkBytes> {
    const before = await this.#look();
    await act();
    const after = await this.#look();
    return {
      sentBytes: after.sentBytes - before.sentBytes,
      receivedBytes: after.receivedBytes - before.receivedBytes,
    };
  }

  async #look(): Promise<LinkBytes> {
    const [sent, received] = await Promise.all([
      this.#counters.bytes([LINK_SETS.sent, LINK_SETS6.sent]),
      this.#counters.bytes([LINK_SETS.received, LINK_SETS6.received]),
    ]);
    this.#totals.observe({ sent, received }, [this.#peer], this.#around);
    return this.#totals.of(ID);
  }
}
