import { expect, test } from "bun:test";
import { parseIpv4 } from "../../model/ip.ts";
import { choosePairs } from "./choose-pairs.ts";
import type { DoctorHost, HostFacts } from "./doctor-facts.ts";
import { type DoctorInput, explainDoctor } from "./explain-doctor.ts";

const HOSTS: readonly DoctorHost[] = ["a", "b", "c"].map((name, at) => ({
  name,
  address: `192.0.2.${at + 1}`,
  agentVersion: "1.0.0",
}));

function link(peer: string, change: Partial<HostFacts["links"][number]> = {}): HostFacts["links"][number] {
  return {
    peer,
    mode: "direct",
    up: true,
    rttMs: 0.2,
    lossPercent: 0,
    mtu: 1500,
    deviceMtu: 1500,
    why: "same network",
    ...change,
  };
}

function facts(host: string, change: Partial<HostFacts> = {}): HostFacts {
  const peers = HOSTS.filter(({ name }) => name !== host);
  return {
    host,
    nowMs: 0,
    address: parseIpv4("192.0.2.1"),
    findings: [],
    links: peers.map(({ name }) => link(name)),
    exchange: {
      opened: [6784, 6785],
      heard: peers.flatMap(({ name: from }) => [6784, 6785].map((port) => ({ from, port }))),
    },
    ...change,
  };
}

interface Change {
  readonly facts?: Readonly<Record<string, Partial<HostFacts>>>;
  readonly hosts?: readonly DoctorHost[];
  readonly skews?: Readonly<Record<string, number>>;
  readonly silent?: string;
}

function input(change: Change = {}): DoctorInput {
  const hosts = change.hosts ?? HOSTS;
  return {
    hosts,
    pairs: choosePairs(hosts, null),
    told: new Map(
      hosts.map(({ name }) => [
        name,
        name === change.silent
          ? { ok: false, why: `the agent of ${name} does not answer within 8 s`, hint: null }
          : { ok: true, facts: facts(name, change.facts?.[name]), ms: 2600 },
      ]),
    ),
    skews: new Map(hosts.map(({ name }) => [name, { skewMs: change.skews?.[name] ?? 0, errorMs: 20 }])),
  };
}

/** What is not well, as "host→peer check state". */
function faults(change: Change): readonly string[] {
  return explainDoctor(input(change))
    .findings.filter(({ state }) => state !== "ok")
    .map(({ host, peer, check, state }) => `${host}${peer === null ? "" : `→${peer}`} ${check} ${state}`);
}

test("explainDoctor() of hosts that are well says so, once a check and host", () => {
  const report = explainDoctor(input());
  expect(report).toMatchObject({ ok: true, hosts: 3, pairs: { checked: 6, total: 6 } });
  expect(report.findings.map(({ host, check, text }) => `${host} ${check}: ${text}`)).toEqual([
    "null clock: all agree",
    "null version: all agents are 1.0.0",
    ...["a", "b", "c"].flatMap((host) => [
      `${host} link: 2 of 2 links up in their best mode`,
      `${host} udp: UDP 6784 and 6785 arrive at 2 of 2`,
    ]),
  ]);
});

const without = { from: "a", port: 6785 };
const FAULTS: readonly (readonly [what: string, change: Change, expected: readonly string[]])[] = [
  ["an agent that is silent", { silent: "b" }, ["b agent error"]],
  ["a clock beside the others", { skews: { b: 5000 } }, ["b clock warning"]],
  ["a clock far off", { skews: { b: -90_000 } }, ["b clock error"]],
  ["a clock that is off less than can be measured", { skews: { b: 1010 } }, []],
  [
    "an address twice",
    { hosts: HOSTS.map((host) => ({ ...host, address: host.name === "c" ? "192.0.2.1" : host.address })) },
    ["c→a address error"],
  ],
  [
    "an older agent",
    { hosts: HOSTS.map((host) => ({ ...host, agentVersion: host.name === "a" ? "0.9.0" : "1.0.0" })) },
    ["a version warning"],
  ],
  ["a link that is down", { facts: { a: { links: [link("b", { up: false }), link("c")] } } }, ["a→b link error"]],
  ["a link that is not known yet", { facts: { a: { links: [link("c")] } } }, ["a→b link warning"]],
  ["loss", { facts: { a: { links: [link("b", { lossPercent: 10 }), link("c")] } } }, ["a→b link warning"]],
  [
    "a narrow way",
    {
      facts: {
        a: { links: [link("b", { mtu: 1400 }), link("c")] },
        b: { links: [link("a", { mtu: 1400 }), link("c")] },
      },
    },
    ["a→b mtu warning", "b→a mtu warning"],
  ],
  [
    "an MTU that is not the same both ways",
    { facts: { a: { links: [link("b", { mtu: 1400, deviceMtu: 1400 }), link("c")] } } },
    ["a→b mtu warning"],
  ],
  [
    "VXLAN's own bytes, which are no narrow way",
    {
      facts: Object.fromEntries(
        HOSTS.map(({ name }) => [
          name,
          {
            links: HOSTS.filter((each) => each.name !== name).map((each) =>
              link(each.name, { mode: "vxlan", mtu: 1450 }),
            ),
          },
        ]),
      ),
    },
    [],
  ],
  [
    "a port that does not arrive",
    {
      facts: {
        b: {
          exchange: {
            opened: [6784, 6785],
            heard: facts("b").exchange.heard.filter(({ from, port }) => from !== without.from || port !== without.port),
          },
        },
      },
    },
    ["a→b udp warning"],
  ],
  [
    "a port that the kernel has for a tunnel",
    {
      facts: {
        b: { exchange: { opened: [6785], heard: facts("b").exchange.heard.filter(({ port }) => port === 6785) } },
      },
    },
    [],
  ],
  [
    "what a host found itself",
    { facts: { c: { findings: [{ check: "disk", state: "error", text: "Only 3 MiB free", hint: "df -h" }] } } },
    ["c disk error"],
  ],
];

for (const [what, change, expected] of FAULTS) {
  test(`explainDoctor() of ${what} finds ${expected.join(", ") || "nothing"}`, () =>
    expect(faults(change)).toEqual([...expected]));
}

test("explainDoctor() puts errors first and gives every fault a cure", () => {
  const { ok, findings } = explainDoctor(input({ silent: "b", skews: { c: 5000 } }));
  expect(ok).toBe(false);
  expect(findings.slice(0, 2).map(({ state }) => state)).toEqual(["error", "warning"]);
  expect(findings.filter(({ state, hint }) => state !== "ok" && hint === null)).toEqual([]);
});
