import type { Holder } from "../model/holder.ts";
import type { Ipv4 } from "../model/ip.ts";
import { isIpv4 } from "../model/ip.ts";
import { DEFAULT_NETWORK, defaultPolicyOf } from "../model/network-config.ts";
import type { PolicyRule, Selector } from "../model/network-config.ts";
import type { Condition } from "../model/wire.ts";
import { gateway6Of } from "../network/address6.ts";
import { bridgeOf, carriedNetworks, tunnelOf } from "../network/declared-network.ts";
import { gatewayOf } from "../network/blocks.ts";
import { BRIDGE } from "../network/plan-network.ts";
import { HolderIndex } from "../network/policy/choose-holders.ts";
import type { KnownParties } from "../network/policy/choose-parties.ts";
import type { AddressPair } from "../network/policy/plan-policy6.ts";
import type { PolicyInput, PolicyNetwork } from "../network/policy/plan-policy.ts";
import type { AgentState } from "./agent-state.ts";

/** What policy is planned from, as this agent knows the cluster; `host` is this one. Null until it has joined. */
export function policyInput(state: AgentState): PolicyInput | null {
  const { identity } = state;
  if (identity === null) return null;
  return {
    networks: policyNetworks(state),
    rules: state.networkConfig.policies,
    holders: state.holders(),
    hostAddresses: [...new Set([...hostAddresses(state).values()].flat())].toSorted(),
    host: identity.hostName,
  };
}

/** Networks whose containers are behind a bridge that we know. */
export function policyNetworks(state: AgentState): readonly PolicyNetwork[] {
  const policy = defaultPolicyOf(state.networkConfig, DEFAULT_NETWORK);
  const declared = carriedNetworks(state.networkConfig.networks).map(({ vni, ...network }) => ({
    name: network.name,
    bridge: bridgeOf(vni),
    policy: network.policy,
    layer2: network.layer2,
    ...(network.layer2 ? { tunnel: tunnelOf(vni) } : {}),
  }));
  return [{ name: DEFAULT_NETWORK, bridge: BRIDGE, policy, layer2: false }, ...declared];
}

/** All that each host sends from: its own address and its gateway in the range. */
export function hostAddresses(state: AgentState): ReadonlyMap<string, readonly Ipv4[]> {
  const { identity } = state;
  const found = new Map<string, Ipv4[]>();
  const add = (name: string, addresses: readonly Ipv4[]): void => {
    found.set(name, [...new Set([...(found.get(name) ?? []), ...addresses])]);
  };
  for (const { name, address } of state.hosts) if (isIpv4(address)) add(name, [address]);
  for (const { name, address, blocks } of state.peers.values()) {
    add(name, [...(isIpv4(address) ? [address] : []), ...(blocks.length === 0 ? [] : [gatewayOf(blocks)])]);
  }
  if (identity !== null && identity.blocks.length > 0) add(identity.hostName, [gatewayOf(identity.blocks)]);
  return found;
}

/** The IPv6 addresses of containers and hosts, each beside the IPv4 one that rules are planned with. */
export function policyPairs(state: AgentState, holders: readonly Holder[]): readonly AddressPair[] {
  const { identity } = state;
  const range6 = identity?.settings.range6 ?? null;
  if (identity === null || range6 === null) return [];
  const hosts = [identity.blocks, ...[...state.peers.values()].map(({ blocks }) => blocks)];
  const gateways = hosts.filter((blocks) => blocks.length > 0).map(gatewayOf);
  return [
    ...holders.flatMap(({ address, address6 }) => (address6 === undefined ? [] : [{ address, address6 }])),
    ...gateways.map((address) => ({ address, address6: gateway6Of(range6, address) })),
  ];
}

export function knownParties(state: AgentState): KnownParties {
  return { holders: state.holders(), hosts: state.hosts, hostAddresses: hostAddresses(state) };
}

/** Rules that name what is not there: allowed, since it may come, and worth a look, since it may be misspelt. */
export function findIdleSelectors(input: PolicyInput): readonly Condition[] {
  const index = new HolderIndex(input.holders, []);
  return input.rules.flatMap((rule) => {
    const missing = [...rule.from, ...rule.to].flatMap((selector) => missingName(selector, index) ?? []);
    return missing.length === 0 ? [] : [idleCondition(rule, [...new Set(missing)])];
  });
}

function missingName({ app, service }: Selector, index: HolderIndex): string | null {
  if (app !== undefined && !index.hasApp(app)) return `app "${app}"`;
  return service !== undefined && !index.hasService(service) ? `service "${service}"` : null;
}

function idleCondition({ name }: PolicyRule, missing: readonly string[]): Condition {
  const text = `Policy rule "${name}" names ${missing.join(" and ")}, of which no container runs`;
  return { code: "policy-rule-idle", severity: "info", text, hint: `See it: apollo policy show ${name}` };
}
