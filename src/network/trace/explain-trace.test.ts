import { expect, test } from "bun:test";
import { parseIpv4 } from "../../model/ip.ts";
import { parseIpv6 } from "../../model/ip6.ts";
import { explainTrace } from "./explain-trace.ts";
import type { FarFacts, NearFacts, StepName, Told, TraceQuestion } from "./trace-facts.ts";
import { STEP_NAMES } from "./trace-facts.ts";
import { DB, FRONT, QUESTION, farFacts, nearFacts, BRIDGE_WELL } from "./trace.fixture.ts";

function told<Facts>(facts: Facts): Told<Facts> {
  return { ok: true, facts, ms: 3 };
}

interface Fault {
  readonly near?: Partial<NearFacts>;
  readonly far?: Partial<FarFacts>;
  readonly question?: Partial<TraceQuestion>;
  readonly truth?: readonly string[];
}

function explain({ near = {}, far = {}, question = {}, truth = [DB] }: Fault) {
  return explainTrace({
    question: { ...QUESTION, ...question },
    nearHost: "h1",
    near: told(nearFacts(near)),
    far: told(farFacts(far)),
    truth,
  });
}

const name = nearFacts().name;
const nothing: NearFacts["name"] = { ...name, addresses: [], expected: [], code: "NXDOMAIN" };
const link = nearFacts().link;
const refused = { outcome: "refused", ms: 0.5, cause: "connection refused" } as const;
const silent = { outcome: "silent", ms: 2000, cause: "no answer within 2 s" } as const;
const drop = { chain: "inet foreign f", hook: "forward", handle: 4, comment: null, certain: true };
const end = nearFacts().endpoint;

const FAULTS: readonly (readonly [what: string, fault: Fault, step: StepName, seen: string, hint: string])[] = [
  [
    "unknown name",
    { near: { name: nothing, endpoint: null } },
    "name",
    "nothing has the name db.service.consul",
    "apollo service list",
  ],
  [
    "no healthy instance",
    {
      near: {
        name: { ...nothing, left: [{ endpoint: "h2:db:5432", reason: "its health is critical" }] },
        endpoint: null,
      },
    },
    "name",
    "db.service.consul has no healthy instance; left out: h2:db:5432: its health is critical",
    "apollo why db",
  ],
  [
    "container stopped, looked for by name",
    { near: { name: { ...nothing, aside: { container: "db", state: "exited" } }, endpoint: null } },
    "name",
    "container db is exited",
    "docker start db",
  ],
  [
    "container never attached",
    { near: { name: { ...nothing, aside: { container: "db", state: "running" } }, endpoint: null } },
    "name",
    "container db is not on the network",
    "apollo net attach db",
  ],
  [
    "DNS answers what was",
    { truth: ["10.2.2.9"] },
    "name",
    "db.service.consul is answered with 10.2.2.7, which the server does not know (any more); it knows 10.2.2.9",
    "apollo host list",
  ],
  [
    "DNS is silent",
    { near: { name: { ...name, code: "SILENT", addresses: [] }, endpoint: null } },
    "name",
    "the DNS of h1 (10.2.1.1) does not answer for db.service.consul",
    "apollo net doctor --host h1",
  ],
  [
    "FROM is stopped",
    { near: { from: { ...nearFacts().from, state: "exited", entered: false } } },
    "from",
    "container front is exited",
    "docker start front   (on h1)",
  ],
  [
    "FROM lost its address",
    { near: { inside: { addresses: [], route: null } } },
    "from",
    `container front has lost its address ${FRONT}`,
    "docker restart front   (on h1)",
  ],
  [
    "no bridge port",
    { near: { from: { ...nearFacts().from, wire: null } } },
    "wire",
    "no port of bridge apollo0 belongs to 10.2.1.5: what it sends is dropped",
    "docker restart front   (on h1)",
  ],
  [
    "no IPv6 address",
    { near: { family: 6, from: { ...nearFacts().from, address: null } } },
    "from",
    "container front has no IPv6 address",
    "docker inspect front   (on h1)",
  ],
  [
    "another network",
    { near: { bridge: { ...BRIDGE_WELL, name: "apl1000", network: "blue" } } },
    "policy",
    "front is on network blue and the destination on apollo: nothing passes from one to the other",
    "apollo net attach front --network apollo",
  ],
  [
    "a border that a rule could open",
    {
      near: {
        bridge: { ...BRIDGE_WELL, name: "apl1000", network: "blue" },
        policy: { allowed: false, reason: "border", by: null, rules: [], cure: "apollo policy put x --network red" },
      },
    },
    "policy",
    "front is on network blue and the destination on apollo: no rule opens the border for this",
    "apollo policy put x --network red",
  ],
  [
    "a segment, from a host",
    {
      near: {
        from: { ...nearFacts().from, kind: "host", name: "h1" },
        bridge: { ...BRIDGE_WELL, name: "apl1001", network: "seg", layer2: true },
      },
    },
    "route",
    "hosts are not on network seg: it is a segment of its own",
    "apollo net trace CONTAINER 10.2.2.7",
  ],
  [
    "a program that listens by IPv4 alone",
    {
      near: {
        endpoint: {
          address: parseIpv6("fd12::7"),
          port: 80,
          host: "h2",
          container: "db",
          health: null,
          network: "apollo",
        },
      },
      far: { listeners: ["0.0.0.0"] },
    },
    "port",
    "tcp 80 in db listens on 0.0.0.0 only: it cannot be reached from outside the container",
    "Let the program in db listen on ::",
  ],
  [
    "bridge down here",
    { near: { bridge: { ...BRIDGE_WELL, up: false } } },
    "wire",
    "bridge apollo0 is down",
    "systemctl restart apollo-agent",
  ],
  [
    "route deleted: the default route takes it",
    {
      near: {
        route: {
          seen: { device: "wan0", via: parseIpv4("192.0.2.254"), mtu: 1500 },
          expected: "eth0",
          block: "10.2.2.0/24",
        },
      },
    },
    "route",
    "packets to 10.2.2.7 leave by wan0 via 192.0.2.254; 10.2.2.0/24 is reached by eth0",
    "ip route get 10.2.2.7   (on h1",
  ],
  [
    "no route at all",
    { near: { route: { seen: null, expected: "eth0", block: "10.2.2.0/24" } } },
    "route",
    "host h1 has no route to 10.2.2.0/24",
    "ip route get 10.2.2.7",
  ],
  [
    "policy",
    {
      near: {
        connect: silent,
        policy: { allowed: false, reason: "not-allowed", by: null, rules: ["db"], cure: "apollo policy put x" },
      },
    },
    "policy",
    "closed by rule db, and none allows this",
    "apollo policy put x",
  ],
  [
    "link down",
    { near: { connect: silent, link: link && { ...link, up: false, lossPercent: 100 } } },
    "link",
    "h2 does not answer h1 (direct, 100 % lost)",
    "apollo net links --host h1",
  ],
  [
    "no way to the peer",
    { near: { link: link && { ...link, mode: "none", why: "it must be encrypted and has no key" } } },
    "link",
    "nothing is sent to h2: it must be encrypted and has no key",
    "apollo net links --host h1",
  ],
  [
    "block moved",
    { far: { owns: false, holder: null, blocks: ["10.2.9.0/24"], container: null } },
    "block",
    "10.2.2.7 was said to be on h2, which has 10.2.9.0/24: the block has moved",
    "apollo host list",
  ],
  [
    "bridge down there",
    { far: { bridge: { ...BRIDGE_WELL, up: false } } },
    "bridge",
    "bridge apollo0 is down",
    "systemctl restart apollo-agent   (on h2",
  ],
  [
    "bridge gone there",
    { far: { bridge: { ...BRIDGE_WELL, there: false, up: false, gateway: false } } },
    "bridge",
    "bridge apollo0 is not there",
    "systemctl restart apollo-agent   (on h2",
  ],
  [
    "another route there",
    { far: { route: { device: "tun0", via: null, mtu: 1400 } } },
    "bridge",
    "the host sends it to tun0, not to apollo0",
    "ip route",
  ],
  [
    "port of the bridge down",
    { far: { wire: { device: "veth9", up: false } } },
    "bridge",
    "veth9 on apollo0 is down",
    "ip link set veth9 up   (on h2)",
  ],
  [
    "container stopped",
    { far: { container: { name: "db", state: "exited", entered: false, inside: false } } },
    "container",
    "db is exited",
    "docker start db   (on h2)",
  ],
  [
    "nobody has the address",
    { far: { holder: null, container: null } },
    "container",
    "no container on h2 has 10.2.2.7 (db had it)",
    "docker ps -a",
  ],
  [
    "nothing listens",
    { near: { connect: refused }, far: { listeners: [], otherPorts: [80, 443] } },
    "port",
    "nothing in db listens on tcp 5432; it listens on 80, 443",
    "docker logs db   (on h2)",
  ],
  [
    "loopback only",
    { near: { connect: refused }, far: { listeners: ["127.0.0.1"] } },
    "port",
    "tcp 5432 in db listens on 127.0.0.1 only: it cannot be reached from outside the container",
    "Let the program in db listen on 0.0.0.0",
  ],
  [
    "sick",
    { far: { health: { endpoint: "h2:db:5432", health: "critical" } } },
    "health",
    "h2:db:5432 is critical: DNS and ingress leave it out",
    "apollo service list",
  ],
  [
    "firewall of somebody else",
    { near: { connect: silent }, far: { drops: [drop] } },
    "firewall",
    "rule 4 of chain inet foreign f (hook forward) drops it",
    "nft delete rule inet foreign f handle 4   (on h2",
  ],
  [
    "chain's policy",
    { near: { connect: silent, drops: [{ ...drop, handle: null, comment: "policy drop" }] } },
    "firewall",
    "the policy of chain inet foreign f (hook forward) drops it",
    "nft -a list chain inet foreign f   (on h1)",
  ],
  [
    "nobody knows why",
    { near: { connect: silent } },
    "connect",
    "10.2.2.7:5432: no answer",
    "tcpdump -ni veth1 host 10.2.2.7 and port 5432   (on h1)",
  ],
  [
    "MTU black hole",
    { near: { packets: { small: "answered", large: "lost", bytes: 1500, passes: 1400, drops: [] } } },
    "packets",
    "packets of 1500 bytes vanish on the way (MTU black hole); 1400 bytes arrive",
    "ip link set dev DEVICE mtu 1400",
  ],
  [
    "large packets dropped by a rule",
    {
      near: { packets: { small: "answered", large: "lost", bytes: 1500, passes: null, drops: [] } },
      far: { largeDrops: [drop] },
    },
    "packets",
    "packets of 1500 bytes vanish: rule 4 of chain inet foreign f (hook forward) drops them",
    "nft delete rule inet foreign f handle 4   (on h2",
  ],
  [
    "virtual address without endpoint",
    { near: { virtual: { name: "db", address: parseIpv4("10.3.0.9"), ports: [5432], backends: [] }, endpoint: null } },
    "endpoint",
    "10.3.0.9 of service db has no healthy endpoint: connections are refused",
    "apollo service show db",
  ],
  [
    "virtual address, wrong port",
    {
      question: { port: 80 },
      near: { virtual: { name: "db", address: parseIpv4("10.3.0.9"), ports: [5432], backends: [] }, endpoint: null },
    },
    "endpoint",
    "service db has no port 80 at 10.3.0.9; it has 5432",
    "apollo service show db",
  ],
];

for (const [what, fault, step, seen, hint] of FAULTS) {
  test(`explainTrace() of ${what} breaks at ${step}`, () => {
    const report = explain(fault);
    const found = report.steps.find((each) => each.name === step);
    expect([report.ok, report.broken]).toEqual([false, step]);
    expect(found?.seen).toBe(seen);
    expect(found?.hint).toStartWith(hint);
  });
}

test("explainTrace() of a connection that is well has every step, in order, none broken", () => {
  const report = explain({});
  expect(report).toMatchObject({ from: "front", to: "db", port: 5432, protocol: "tcp", ok: true, broken: null });
  expect(report.steps.map((step) => step.name)).toEqual([...STEP_NAMES]);
  expect(report.steps.filter(({ state }) => state !== "ok")).toEqual([]);
});

test("explainTrace() names an agent that is away, here or there, and looks at the rest all the same", () => {
  const away = {
    ok: false,
    why: 'Cannot ask host "h2": its agent is not connected',
    hint: "apollo host list",
  } as const;
  const there = explainTrace({ question: QUESTION, nearHost: "h1", near: told(nearFacts()), far: away, truth: null });
  expect([there.broken, there.steps.find((step) => step.name === "connect")?.state]).toEqual(["agent", "ok"]);
  const here = explainTrace({
    question: { ...QUESTION, from: null },
    nearHost: "h1",
    near: away,
    far: null,
    truth: null,
  });
  expect([here.from, here.broken]).toEqual(["host:h1", "from"]);
  expect(here.steps.filter(({ state }) => state === "skipped")).toHaveLength(STEP_NAMES.length - 1);
});

test("explainTrace() tells a relayed link and one in a worse mode, which are slow and not broken", () => {
  const relayed = link && { ...link, mode: "relay", via: "h3", best: false, why: "h2 does not answer", mtu: 1450 };
  const seen = explain({ near: { link: relayed } }).steps.find((step) => step.name === "link");
  expect(seen).toMatchObject({
    state: "ok",
    seen: "h1 → h2: relay via h3, 0.2 ms, MTU 1450, fast path; not its best mode: h2 does not answer",
  });
});

test("explainTrace() does not blame a firewall for what was answered, nor for what it cannot judge when refused", () => {
  const maybe = { ...drop, certain: false };
  expect(explain({ far: { drops: [drop] } }).ok).toBe(true);
  expect(explain({ near: { connect: refused }, far: { drops: [maybe] } }).broken).toBe("connect");
  expect(explain({ near: { connect: silent }, far: { drops: [maybe] } }).broken).toBe("firewall");
});

test("explainTrace() to an address outside looks at the route and tries it", () => {
  const outside = end && { ...end, host: null, container: null, health: null };
  const near = nearFacts({ endpoint: outside, link: null, policy: null });
  const { ok, steps } = explainTrace({ question: QUESTION, nearHost: "h1", near: told(near), far: null, truth: null });
  expect(ok).toBe(true);
  expect(steps.filter(({ state }) => state === "ok").map((step) => step.name)).toEqual([
    "from",
    "name",
    "endpoint",
    "wire",
    "route",
    "firewall",
    "connect",
    "packets",
  ]);
});
