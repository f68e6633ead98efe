import { expect, test } from "bun:test";
import { parseIpv4 } from "../../model/ip.ts";
import { parseIpv6 } from "../../model/ip6.ts";
import type { SeenMachine } from "../../platform/ports/host-examiner.ts";
import { explainMachine, type MachineInput } from "./explain-machine.ts";

const ADDRESS = parseIpv4("192.0.2.1");
const GOOD: SeenMachine = {
  sysctls: {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/bridge/bridge-nf-call-iptables": "1",
  },
  vxlan: true,
  missingPrograms: [],
  addresses: [ADDRESS],
  ranges: ["192.0.2.0/24"],
  uplinkMtu: 1500,
  ruleset: JSON.stringify({ nftables: [] }),
  engine: { version: "20.10.24", liveRestore: true, filters: true },
  nameservers: ["10.2.1.1"],
  disk: { freeMiB: 50_000, totalMiB: 100_000 },
};

function faults(machine: Partial<SeenMachine>, input: Partial<MachineInput> = {}): readonly string[] {
  const findings = explainMachine({
    machine: { ...GOOD, ...machine },
    host: "h1",
    address: ADDRESS,
    range: "10.2.0.0/16",
    peer: null,
    running: true,
    ...input,
  });
  return findings.filter(({ state }) => state !== "ok").map(({ check, state, hint }) => `${check} ${state}: ${hint}`);
}

function chain(hook: string, expr: readonly object[]): string {
  const base = { family: "inet", table: "t", name: "c", handle: 1, type: "filter", hook, prio: 0, policy: "accept" };
  return JSON.stringify({
    nftables: [{ chain: base }, { rule: { family: "inet", table: "t", chain: "c", handle: 2, expr } }],
  });
}

const udp = (port: number): object => ({
  match: { op: "==", left: { payload: { protocol: "udp", field: "dport" } }, right: port },
});

const CASES: readonly (readonly [
  what: string,
  machine: Partial<SeenMachine>,
  expected: readonly string[],
  input?: Partial<MachineInput>,
])[] = [
  ["a good machine", {}, []],
  ["no nft", { missingPrograms: ["nft", "bridge"] }, ["programs error: apt-get install nftables iproute2"]],
  ["no ping", { missingPrograms: ["ping"] }, ["programs warning: apt-get install iputils-ping"]],
  [
    "no forwarding",
    { sysctls: { ...GOOD.sysctls, "net/ipv4/ip_forward": "0" } },
    ["kernel error: sysctl -w net.ipv4.ip_forward=1; grep -r ip_forward /etc/sysctl*"],
  ],
  [
    "no forwarding before a join, which turns it on",
    { sysctls: { ...GOOD.sysctls, "net/ipv4/ip_forward": "0" } },
    [],
    { running: false },
  ],
  [
    "a strict reverse path filter",
    { sysctls: { ...GOOD.sysctls, "net/ipv4/conf/all/rp_filter": "1" } },
    ["kernel warning: sysctl -w net.ipv4.conf.all.rp_filter=2"],
  ],
  ["no br_netfilter", { sysctls: { "net/ipv4/ip_forward": "1" } }, ["kernel warning: modprobe br_netfilter"]],
  ["no VXLAN", { vxlan: false }, ["kernel error: modprobe vxlan"]],
  [
    "own routes in the range",
    { ranges: ["10.2.7.0/24"] },
    ["range error: ip route   (on h1: remove them, or a cluster with --range 10.0.0.0/16)"],
  ],
  [
    "an address behind NAT",
    { addresses: [parseIpv4("10.9.9.9")] },
    ["address warning: apollo agent --address ADDRESS, with the one that other hosts reach it by"],
  ],
  [
    "a firewall for VXLAN",
    { ruleset: chain("input", [udp(6784), { drop: null }]) },
    ["firewall error: nft delete rule inet t c handle 2   (on h1, if it is not wanted)"],
  ],
  ["a firewall for another port", { ruleset: chain("input", [udp(53), { drop: null }]) }, []],
  [
    "a firewall for containers",
    { ruleset: chain("forward", [{ drop: null }]) },
    ["firewall error: nft delete rule inet t c handle 2   (on h1, if it is not wanted)"],
  ],
  ["no engine", { engine: null }, ["engine error: systemctl status docker"]],
  [
    "an old engine",
    { engine: { version: "19.03.1", liveRestore: true, filters: true } },
    ["engine warning: Update it to 20.10 or later"],
  ],
  [
    "an engine whose containers end with it",
    { engine: { version: "20.10.1", liveRestore: false, filters: null } },
    ['engine warning: "live-restore": true in /etc/docker/daemon.json, then systemctl reload docker'],
  ],
  ["no resolver", { nameservers: [] }, ["resolver error: See who writes it: ls -l /etc/resolv.conf"]],
  ["little disk", { disk: { freeMiB: 1000, totalMiB: 9000 } }, ["disk warning: docker system df; df -h"]],
  ["no disk", { disk: { freeMiB: 100, totalMiB: 9000 } }, ["disk error: docker system df; df -h"]],
  ["nothing that could be found out", { ruleset: null, disk: null, vxlan: null, addresses: [] }, []],
];

for (const [what, machine, expected, input] of CASES) {
  test(`explainMachine() of ${what} finds ${expected.length === 0 ? "nothing" : (expected[0] ?? "")}`, () =>
    expect(faults(machine, input)).toEqual([...expected]));
}

test("explainMachine() looks at IPv6 where the cluster has it, or the host is reached by it", () => {
  const range6 = "fd12:3456:789a::/64";
  const off = { sysctls: { ...GOOD.sysctls, "net/ipv6/conf/all/forwarding": "0" } };
  expect(faults(off)).toEqual([]);
  expect(faults(off, { range6 })).toEqual([
    "kernel error: sysctl -w net.ipv6.conf.all.forwarding=1; grep -r forwarding /etc/sysctl*",
  ]);
  const payload = { payload: { protocol: "ip6", field: "daddr" } };
  const drop = (right: unknown): readonly object[] => [{ match: { op: "==", left: payload, right } }, { drop: null }];
  const closed = { ruleset: chain("forward", drop({ prefix: { addr: "fd12:3456:789a::", len: 64 } })) };
  expect([faults(closed).length, faults(closed, { range6 }).length]).toEqual([0, 1]);
  const address = parseIpv6("2001:db8::1");
  expect(faults({ addresses: [ADDRESS] }, { address })).toEqual([
    "address warning: apollo agent --address ADDRESS, with the one that other hosts reach it by",
  ]);
  const input = { ruleset: chain("input", drop("2001:db8::1")), addresses: [address] };
  // All three ports.
  expect(faults(input, { address }).filter((fault) => fault.startsWith("firewall"))).toHaveLength(3);
});
