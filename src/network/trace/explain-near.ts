import { formatEndpoint } from "../../model/ip6.ts";
import type { NearFacts, TraceQuestion, TraceStep } from "./trace-facts.ts";

export type Finding = Omit<TraceStep, "name">;

/** Steps on FROM's host and on the way from there. */
export function explainFrom({ host, family, from, inside }: NearFacts): Finding {
  const at = from.address === null ? "" : `, ${from.address}`;
  const without = family === 6 && from.address === null;
  if (from.kind === "host" && without) return broken(host, `host ${from.name} has no IPv6`, "apollo status");
  if (from.kind === "host") return ok(host, `host ${from.name}${at}`);
  const name = `container ${from.name}`;
  if (from.state !== null && from.state !== "running") {
    return broken(host, `${name} is ${from.state}`, `docker start ${from.name}   (on ${host})`);
  }
  if (!from.entered) return broken(host, `${name} has no network namespace`, `docker ps -a   (on ${host})`);
  if (from.address !== null && inside !== null && !inside.addresses.includes(from.address)) {
    return broken(host, `${name} has lost its address ${from.address}`, `docker restart ${from.name}   (on ${host})`);
  }
  if (without) return broken(host, `${name} has no IPv6 address`, `docker inspect ${from.name}   (on ${host})`);
  return ok(host, `${name}${at}`);
}

export function explainName(
  question: TraceQuestion,
  { host, name, virtual }: NearFacts,
  truth: readonly string[] | null,
): Finding {
  const { asked, server, code, addresses, ms } = name;
  if (asked === null && addresses.length > 0) {
    return ok(
      host,
      virtual === null ? `${question.to} is an address` : `${question.to} is the address of service ${virtual.name}`,
    );
  }
  const left = name.left.map(({ endpoint, reason }) => `${endpoint}: ${reason}`);
  const without = left.length === 0 ? "" : `; left out: ${few(left)}`;
  if (code === "SILENT") {
    const seen = `the DNS of ${host} (${server ?? "no bridge"}) does not answer for ${asked ?? question.to}`;
    return broken(host, seen, `apollo net doctor --host ${host}`, ms);
  }
  if (addresses.length === 0) return explainUnknown(question, name, { host, without });
  const shown = `${asked} is ${few(addresses)}${without}`;
  // Long answers are a choice of all; what the server does not know at all is an answer of yesterday.
  const stale = truth === null || truth.length === 0 ? [] : addresses.filter((address) => !truth.includes(address));
  if (stale.length > 0) {
    const seen = `${asked} is answered with ${few(stale)}, which the server does not know (any more); it knows ${few(truth ?? [])}`;
    return broken(host, seen, `apollo host list   (is the agent of ${host} connected?)`, ms);
  }
  return ok(host, shown, ms);
}

function explainUnknown(
  question: TraceQuestion,
  { asked, aside, left, expected, ms }: NearFacts["name"],
  { host, without }: { readonly host: string; readonly without: string },
): Finding {
  const { to } = question;
  if (aside !== null) {
    const stopped = aside.state !== "running";
    const seen = stopped
      ? `container ${aside.container} is ${aside.state}`
      : `container ${aside.container} is not on the network`;
    return broken(host, seen, stopped ? `docker start ${aside.container}` : `apollo net attach ${aside.container}`, ms);
  }
  if (left.length > 0) {
    return broken(host, `${asked ?? to} has no healthy instance${without}`, `apollo why ${to}`, ms);
  }
  if (expected !== null && expected.length > 0) {
    const seen = `${asked ?? to} is not answered, though the host's catalog has ${few(expected)}`;
    return broken(host, seen, `apollo net doctor --host ${host}`, ms);
  }
  return broken(host, `nothing has the name ${asked ?? to}`, "apollo service list; apollo ps", ms);
}

export function explainEndpoint(question: TraceQuestion, { virtual, endpoint, name }: NearFacts): Finding {
  if (virtual !== null) {
    const { port } = question;
    if (port !== null && virtual.ports.length > 0 && !virtual.ports.includes(port)) {
      const seen = `service ${virtual.name} has no port ${port} at ${virtual.address}; it has ${virtual.ports.join(", ")}`;
      return broken(null, seen, `apollo service show ${virtual.name}`);
    }
    if (virtual.backends.length === 0) {
      const seen = `${virtual.address} of service ${virtual.name} has no healthy endpoint: connections are refused`;
      return broken(null, seen, `apollo service show ${virtual.name}`);
    }
  }
  if (endpoint === null) return skipped(null, "there is none");
  const { address, port, host, container, health } = endpoint;
  const of = virtual === null ? name.addresses.length : virtual.backends.length;
  const where = host === null ? "outside the cluster" : container === null ? `host ${host}` : `${container} on ${host}`;
  const chosen = of > 1 ? `, one of ${of}` : "";
  const seen = `${port === null ? address : formatEndpoint(address, port)} (${where}${chosen})`;
  const well = health === null || health === "passing";
  return ok(null, well ? seen : `${seen}, whose health is ${health}`);
}

export function explainWire({ host, from, bridge, conditions }: NearFacts): Finding {
  const fault = conditions.find(({ code }) =>
    ["range-clash", "network-conflict", "engine-network-wrong"].includes(code),
  );
  if (!bridge.there || !bridge.up || !bridge.gateway) {
    return broken(host, fault?.text ?? bridgeFault(bridge), fault?.hint ?? bridgeCure(host));
  }
  if (from.kind === "host") return ok(host, `bridge ${bridge.name} up`);
  if (from.wire !== null)
    return ok(host, `bridge ${bridge.name} up; ${from.wire} may send as ${from.address ?? "nobody"}`);
  if (from.address === null) {
    return broken(
      host,
      `container ${from.name} is not on the network`,
      `apollo net attach ${from.name}   (on ${host})`,
    );
  }
  const seen = `no port of bridge ${bridge.name} belongs to ${from.address}: what it sends is dropped`;
  return broken(host, seen, `docker restart ${from.name}   (on ${host})`);
}

export function bridgeFault({ name, there, up }: NearFacts["bridge"]): string {
  if (!there) return `bridge ${name} is not there`;
  return up ? `bridge ${name} has lost the gateway's address` : `bridge ${name} is down`;
}

/** The agent sets up what is missing by itself; if it stays so, something undoes it or the agent is away. */
export function bridgeCure(host: string): string {
  return `systemctl restart apollo-agent   (on ${host}: it sets the bridge up again)`;
}

export function explainRoute({ host, from, inside, route, endpoint, bridge }: NearFacts): Finding {
  if (endpoint === null) return skipped(host, "nowhere to go");
  if (bridge.layer2 && from.kind === "host") {
    const seen = `hosts are not on network ${bridge.network}: it is a segment of its own`;
    return broken(
      host,
      seen,
      `apollo net trace CONTAINER ${endpoint.address}   (with one of network ${bridge.network})`,
    );
  }
  if (from.kind === "container" && inside !== null && inside.route === null) {
    const seen = `container ${from.name} has no route to ${endpoint.address}`;
    return broken(host, seen, `docker restart ${from.name}   (on ${host})`);
  }
  const { seen, expected, block } = route;
  if (bridge.layer2)
    return ok(host, `inside ${inside?.route?.device ?? "the container"}, on the wire of network ${bridge.network}`);
  if (seen === null) {
    return broken(host, `host ${host} has no route to ${block ?? endpoint.address}`, routeCure(host, endpoint.address));
  }
  if (expected !== null && seen.device !== expected) {
    const text = `packets to ${endpoint.address} leave by ${seen.device}${seen.via === null ? "" : ` via ${seen.via}`}; ${block === null ? "they" : `${block} is reached`} by ${expected}`;
    return broken(
      host,
      block === null ? text.replace("; they by", "; they should by") : text,
      routeCure(host, endpoint.address),
    );
  }
  const via = seen.via === null ? "" : ` via ${seen.via}`;
  const own = from.kind === "host" ? null : inside?.route;
  const inner =
    own === null || own === undefined ? "" : `inside ${own.device}${own.mtu === null ? "" : ` MTU ${own.mtu}`}; `;
  return ok(host, `${inner}host ${seen.device}${via}${seen.mtu === null ? "" : ` MTU ${seen.mtu}`}`);
}

function routeCure(host: string, address: string): string {
  return `ip route get ${address}   (on ${host}; its agent puts the route back: systemctl status apollo-agent)`;
}

export function explainPolicyStep({ policy, endpoint, from, bridge }: NearFacts): Finding {
  const host = endpoint?.host ?? null;
  const to = endpoint?.network ?? null;
  const apart = from.kind === "container" && from.address !== null && to !== null && to !== bridge.network;
  // A rule that allows it has opened the border.
  if (policy?.reason === "border" || (apart && policy?.reason !== "rule")) {
    const opening = policy?.reason === "border" ? policy.cure : null;
    const why = opening === null ? "nothing passes from one to the other" : "no rule opens the border for this";
    const seen = `${from.name} is on network ${bridge.network} and the destination on ${to ?? "another"}: ${why}`;
    return broken(host, seen, opening ?? `apollo net attach ${from.name} --network ${to ?? "NETWORK"}`);
  }
  if (policy === null) return skipped(host, endpoint === null ? "nowhere to go" : "no rule is about addresses outside");
  if (policy.allowed) {
    return ok(host, policy.by === null ? allowedBy(policy.reason) : `rule ${policy.by} allows it`);
  }
  const seen =
    policy.rules.length === 0
      ? "the network is closed and no rule is about the destination"
      : `closed by ${policy.rules.length === 1 ? "rule" : "rules"} ${few(policy.rules)}, and none allows this`;
  return broken(host, seen, policy.cure);
}

function allowedBy(reason: string): string {
  if (reason === "outside") return "policy is about connections to containers, and this is none";
  if (reason === "same") return "a container reaches itself";
  if (reason === "root") return "a host reaches its own containers";
  return "the network is open and no rule closes the destination";
}

export function explainLink({ host, link, endpoint, fastPath, conditions }: NearFacts): Finding {
  const far = endpoint?.host ?? null;
  if (far === null || far === host) return skipped(null, far === null ? "not to a host of the cluster" : "same host");
  if (link === null) return broken(null, `${host} knows no link to ${far}`, `apollo host list`);
  const told = conditions.find(
    ({ code, text }) => ["peer-unreachable", "link-degraded"].includes(code) && text.includes(`"${far}"`),
  );
  const hint = told?.hint ?? `apollo net links --host ${host}`;
  if (link.mode === "none") return broken(null, `nothing is sent to ${far}: ${link.why}`, hint);
  if (link.up === false)
    return broken(null, `${far} does not answer ${host} (${link.mode}, ${link.lossPercent} % lost)`, hint);
  const rtt = link.rttMs === null ? "" : `, ${link.rttMs} ms`;
  const loss = link.lossPercent === 0 ? "" : `, ${link.lossPercent} % lost`;
  const mode = link.via === null ? link.mode : `${link.mode} via ${link.via}`;
  const encryption = link.encryption === "none" ? "" : `, ${link.encryption} encryption`;
  const fast = fastPath === null ? "" : fastPath.on && !fastPath.slow ? ", fast path" : "";
  const seen = `${host} → ${far}: ${mode}${rtt}${loss}${link.mtu === null ? "" : `, MTU ${link.mtu}`}${encryption}${fast}`;
  return ok(null, link.best ? seen : `${seen}; not its best mode: ${link.why}`);
}

/** As many as fit a line. */
export function few(texts: readonly string[]): string {
  const [shown, rest] = [texts.slice(0, 3), texts.length - 3];
  return rest > 0 ? `${shown.join(", ")} and ${rest} more` : shown.join(", ");
}

export function ok(host: string | null, seen: string, ms: number | null = null): Finding {
  return { host, state: "ok", seen, ms, hint: null };
}

export function broken(host: string | null, seen: string, hint: string | null, ms: number | null = null): Finding {
  return { host, state: "broken", seen, ms, hint };
}

export function skipped(host: string | null, seen: string): Finding {
  return { host, state: "skipped", seen, ms: null, hint: null };
}
