/** What an operator is to know of a host's network, from what was planned for it and seen of it. */
import type { HostAddress } from "../model/ip6.ts";
import type { Condition } from "../model/wire.ts";
import type { NetworkState } from "../platform/ports/host-network.ts";
import { type checkRangeClash, gatewayOf } from "./blocks.ts";
import type { LinkMode } from "./choose-link-mode.ts";
import type { ChosenLink } from "./choose-links.ts";
import type { EngineNetworkPlan } from "./plan-engine-network.ts";
import { ENGINE_NETWORK } from "./plan-engine-network.ts";
import type { DesiredNetwork, DesiredPeer } from "./plan-network.ts";
import { BRIDGE_FILTER_KEY } from "./plan-network.ts";
import type { RulesetPart } from "./render-ruleset.ts";

export function mixedConditions(links: readonly ChosenLink[], peers: readonly DesiredPeer[]): readonly Condition[] {
  const known = new Set(peers.map(({ gateway }) => gateway));
  const left = links.filter(({ link, peer }) => link.mode === "vxlan" && !known.has(gatewayOf(peer.blocks)));
  if (left.length === 0) return [];
  const names = left.map(({ peer }) => `${peer.name} (${peer.address})`).join(", ");
  const text = `Cannot reach containers on ${names}: this host's tunnels are of the other family of addresses`;
  const hint = "Join all hosts behind routers with an --address of one family";
  return [{ code: "underlay-mixed", severity: "error", text, hint }];
}

export function engineConditions(plan: EngineNetworkPlan | null): readonly Condition[] {
  if (plan === null) {
    const text = "The container engine does not answer: no container can be started or watched";
    return [{ code: "engine-down", severity: "error", text, hint: "See why: systemctl status docker" }];
  }
  if (plan.kind === "blocked") {
    const text = `Cannot prepare the container network: ${plan.why}`;
    return [{ code: "engine-network-wrong", severity: "error", text, hint: plan.hint }];
  }
  if (plan.kind !== "ready" || plan.fault === null) return [];
  const text = `The container network is not as it should be: ${plan.fault}; other hosts may not reach containers here`;
  const hint = `Stop the containers once, then the network is made anew: docker ps --filter network=${ENGINE_NETWORK}`;
  return [{ code: "engine-network-wrong", severity: "warning", text, hint }];
}

export function wireguardConditions(desired: DesiredNetwork, kernel: NetworkState): readonly Condition[] {
  if ((desired.wireguard ?? null) === null || kernel.wireguardSupport !== null) return [];
  const text =
    "Cannot encrypt: this host has neither WireGuard in its kernel nor the program wireguard-go, or lacks wg";
  const hint = "apt-get install wireguard-tools wireguard-go; until then links that must be encrypted carry nothing";
  return [{ code: "wireguard-missing", severity: "error", text, hint }];
}

export function bridgeFilterConditions(rules: readonly RulesetPart[], kernel: NetworkState): readonly Condition[] {
  if (!rules.some(({ name }) => name === "policy") || kernel.sysctls[BRIDGE_FILTER_KEY] !== undefined) return [];
  const text = "Policy does not hold between containers of this host: the kernel module br_netfilter is not loaded";
  return [{ code: "policy-not-enforced", severity: "error", text, hint: "Load it: modprobe br_netfilter" }];
}

export function clashCondition(clash: NonNullable<ReturnType<typeof checkRangeClash>>): Condition {
  return {
    code: "range-clash",
    severity: "error",
    text: `Cannot use container range ${clash.range}: this host routes ${clash.with.join(", ")} itself`,
    hint:
      clash.suggestion === null
        ? "Remove the host's route, or set up the cluster with a range that no host uses"
        : `Remove the host's route, or set up the cluster with a free range such as ${clash.suggestion}`,
  };
}

export function conflictCondition(what: string): Condition {
  const text = `Cannot complete the container network: ${what}`;
  return { code: "network-conflict", severity: "error", text, hint: "Remove it or give it another name or range" };
}

export function linkConditions({ peer, link, modes, facts, relay }: ChosenLink): readonly Condition[] {
  const { name } = peer;
  if (link.mode === "none") {
    const text = `Cannot reach containers on host "${name}": ${link.why}`;
    return [{ code: "peer-unreachable", severity: "warning", text, hint: "See the links: apollo net links" }];
  }
  const best = modes[0];
  if (best === link.mode || facts.cause === null) return [];
  const mode = relay === null ? link.mode : `host "${relay.name}" as relay`;
  const text = `Host "${name}" is reached through ${mode}${best === undefined ? "" : ` and not ${best}`}: ${facts.cause}`;
  return [{ code: "link-degraded", severity: "warning", text, hint: degradedCure(link, peer.address) }];
}

/** What usually stands in the way, by the mode that was left for it. */
function degradedCure(link: LinkMode, address: HostAddress): string {
  if (link.mode === "relay") {
    return `Let this host and ${address} reach each other (firewall, cable, switch): UDP 6783 and 6784; it is taken up by itself`;
  }
  return `Turn off source address checks (anti-spoofing, port security) for both hosts in the switch or cloud; it is tried again by itself`;
}
