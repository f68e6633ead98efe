import { isIpv4 } from "../../model/ip.ts";
import type { Finding } from "./explain-near.ts";
import { bridgeCure, bridgeFault, broken, few, ok, skipped } from "./explain-near.ts";
import type { DropRule } from "./find-drop-rules.ts";
import type { FarFacts, NearFacts, Told } from "./trace-facts.ts";

/** Where the connection ends. */
export type End = NonNullable<NearFacts["endpoint"]>;

/** Steps on the host that TO is on. */
export function explainAgent(end: End, far: Told<FarFacts>): Finding {
  const host = end.host ?? "";
  if (far.ok) return ok(host, "connected, answers", far.ms);
  return broken(host, far.why, far.hint ?? `apollo host list; systemctl status apollo-agent   (on ${host})`);
}

export function explainBlock(end: End, far: FarFacts): Finding {
  const { host, owns, holder, blocks } = far;
  if (holder === "host") return ok(host, `${end.address} is an address of the host`);
  if (owns) return ok(host, `${end.address} lies in ${host}'s ${few(blocks)}`);
  const seen = `${end.address} was said to be on ${host}, which has ${blocks.length === 0 ? "no block" : few(blocks)}: the block has moved`;
  return broken(host, seen, `apollo host list   (and again in some seconds: hosts are told of it)`);
}

export function explainFarBridge(far: FarFacts): Finding {
  const { host, bridge, route, neighbour, wire, holder, conditions } = far;
  if (holder === "host") return skipped(host, "the host itself");
  if (!bridge.there || !bridge.up || !bridge.gateway) {
    const fault = conditions.find(({ code }) => ["range-clash", "network-conflict"].includes(code));
    return broken(host, fault?.text ?? bridgeFault(bridge), fault?.hint ?? bridgeCure(host));
  }
  // Hosts have no way into a segment, and need none.
  if (!bridge.layer2 && (route === null || route.device !== bridge.name)) {
    const by = route === null ? "has no route to it" : `sends it to ${route.device}`;
    return broken(host, `the host ${by}, not to ${bridge.name}`, `ip route   (on ${host}: what else has this range?)`);
  }
  if (wire !== null && !wire.up)
    return broken(host, `${wire.device} on ${bridge.name} is down`, `ip link set ${wire.device} up   (on ${host})`);
  const mac = neighbour?.mac ?? null;
  const known = mac === null ? "" : `, neighbour ${mac}`;
  return ok(host, `bridge ${bridge.name} up${wire === null ? "" : `, port ${wire.device}`}${known}`);
}

export function explainContainer(end: End, far: FarFacts): Finding {
  const { host, holder, container } = far;
  if (holder === "host") return skipped(host, "the host itself");
  if (container === null) {
    const was = end.container === null ? "" : ` (${end.container} had it)`;
    return broken(host, `no container on ${host} has ${end.address}${was}`, `docker ps -a; apollo ps   (on ${host})`);
  }
  const { name, state, entered, inside } = container;
  if (state !== "running") return broken(host, `${name} is ${state}`, `docker start ${name}   (on ${host})`);
  if (!entered) return broken(host, `${name} has no network namespace`, `docker restart ${name}   (on ${host})`);
  if (!inside) return broken(host, `${name} has lost ${end.address} inside`, `docker restart ${name}   (on ${host})`);
  return ok(host, `${name} runs`);
}

export function explainPort(end: End, far: FarFacts, protocol: "tcp" | "udp"): Finding {
  const { host, listeners, otherPorts, container } = far;
  if (end.port === null) return skipped(host, "no port was asked about");
  if (listeners === null) return skipped(host, "nobody can look inside");
  const what = `${protocol} ${end.port}`;
  const name = container?.name ?? `host ${host}`;
  if (listeners.length === 0) {
    const others = otherPorts.length === 0 ? "nothing listens at all" : `it listens on ${otherPorts.join(", ")}`;
    const cure = container === null ? `ss -lnp   (on ${host})` : `docker logs ${name}   (on ${host})`;
    return broken(host, `nothing in ${name} listens on ${what}; ${others}`, cure);
  }
  const open = listeners.filter(
    (address) => address === "::" || address === end.address || (isIpv4(end.address) && address === "0.0.0.0"),
  );
  if (open.length > 0) return ok(host, `${what}: ${few(open)} listens`);
  const seen = `${what} in ${name} listens on ${few(listeners)} only: it cannot be reached from outside the container`;
  return broken(host, seen, `Let the program in ${name} listen on ${isIpv4(end.address) ? "0.0.0.0" : "::"}`);
}

export function explainHealth({ host, health }: FarFacts): Finding {
  if (health === null) return skipped(host, "no service is registered there");
  if (health.health === "passing") return ok(host, `${health.endpoint} is passing`);
  return broken(
    host,
    `${health.endpoint} is ${health.health}: DNS and ingress leave it out`,
    `apollo service list; apollo logs`,
  );
}

interface Drops {
  readonly host: string;
  readonly drops: readonly DropRule[];
}

/** Rules of others are a finding only where the real test says that something is wrong. */
export function explainFirewall(test: NearFacts["connect"], sides: readonly Drops[]): Finding {
  const all = sides.flatMap(({ host, drops }) => drops.map((drop) => ({ host, drop })));
  const [first] = all.toSorted((a, b) => Number(b.drop.certain) - Number(a.drop.certain));
  if (first === undefined) return ok(null, "no rule of another table drops it");
  const { host, drop } = first;
  if (test === null || test.outcome === "open") {
    return ok(
      null,
      drop.certain
        ? `passes, though ${name(drop)} on ${host} would drop it`
        : "no rule of another table surely drops it",
    );
  }
  // Somebody answered: what was dropped is not what is asked about.
  if (test.outcome === "refused" && !drop.certain) return ok(null, "no rule of another table surely drops it");
  const may = drop.certain ? "drops it" : "may drop it (not all of its conditions are known)";
  return broken(host, `${name(drop)} ${may}`, ruleCure(host, drop));
}

export function name({ chain, handle, hook, comment }: DropRule): string {
  const what = handle === null ? `the policy of chain ${chain}` : `rule ${handle} of chain ${chain}`;
  return `${what} (hook ${hook}${comment === null || handle === null ? "" : `, "${comment}"`})`;
}

export function ruleCure(host: string, { chain, handle }: DropRule): string {
  return handle === null
    ? `nft -a list chain ${chain}   (on ${host})`
    : `nft delete rule ${chain} handle ${handle}   (on ${host}, if it is not wanted)`;
}
