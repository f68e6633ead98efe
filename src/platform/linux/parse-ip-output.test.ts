import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../model/error.ts";
import { parseIpv4 } from "../../model/ip.ts";
import {
  parseBatchOutput,
  parseBridgePorts,
  parseInterfaceIndexes,
  parseLinks,
  parsePath,
  parseRoutes,
  parseRulesetDigest,
  parseTunnelPeers,
} from "./parse-ip-output.ts";

const ip = parseIpv4;

test("parseLinks() reads bridges, tunnels and what else there is", () => {
  const entries: unknown[] = JSON.parse(`[{},
    {"ifindex":2,"ifname":"apollo0","flags":["BROADCAST","UP"],"mtu":1500,"address":"66:40:31:8c:cf:c8",
     "linkinfo":{"info_kind":"bridge","info_data":{"priority":32768}},
     "addr_info":[{"family":"inet","local":"10.2.1.1","prefixlen":16},{"family":"inet6","local":"fe80::1","prefixlen":64}]},
    {"ifindex":3,"ifname":"apollo-vx0","flags":[],"mtu":1450,"address":"0a:70:0a:02:01:01",
     "linkinfo":{"info_kind":"vxlan","info_data":{"id":201,"local":"192.0.2.1","port":6784,"learning":false}}},
    {"ifindex":4,"ifname":"tun0","flags":["UP"],"mtu":1400,"linkinfo":{"info_kind":"tun"},"addr_info":[{}]}]`);
  expect(parseLinks(entries)).toEqual([
    {
      name: "apollo0",
      index: 2,
      kind: "bridge",
      up: true,
      mtu: 1500,
      mac: "66:40:31:8c:cf:c8",
      addresses: [{ address: ip("10.2.1.1"), prefix: 16 }],
      vxlan: null,
    },
    {
      name: "apollo-vx0",
      index: 3,
      kind: "vxlan",
      up: false,
      mtu: 1450,
      mac: "0a:70:0a:02:01:01",
      addresses: [],
      vxlan: { vni: 201, local: ip("192.0.2.1"), port: 6784 },
    },
    { name: "tun0", index: 4, kind: "tun", up: true, mtu: 1400, mac: "", addresses: [], vxlan: null },
  ]);
});

test("parseRoutes() reads ours and others', and leaves out what goes over no single device", () => {
  const entries: unknown[] = JSON.parse(`[
    {"type":"unicast","dst":"default","gateway":"192.0.2.254","dev":"eth0","protocol":"boot","flags":[]},
    {"type":"unicast","dst":"10.2.2.0/24","gateway":"10.2.2.1","dev":"apollo-vx0","protocol":"201","prefsrc":"10.2.1.1",
     "flags":["onlink"],"metrics":[{"mtu":1450}]},
    {"type":"unicast","dst":"203.0.113.7","dev":"eth0","flags":[]},
    {"type":"blackhole","dst":"10.9.0.0/16"},
    {"type":"unicast","dst":"10.8.0.0/16","nexthops":[{"gateway":"192.0.2.3","dev":"eth0"}]}]`);
  const other = { source: null, mtu: null, onlink: false, marked: false };
  expect(parseRoutes(entries)).toEqual([
    { ...other, destination: "0.0.0.0/0", via: ip("192.0.2.254"), device: "eth0" },
    {
      destination: "10.2.2.0/24",
      via: ip("10.2.2.1"),
      device: "apollo-vx0",
      source: ip("10.2.1.1"),
      mtu: 1450,
      onlink: true,
      marked: true,
    },
    { ...other, destination: "203.0.113.7/32", via: null, device: "eth0" },
  ]);
});

test("parsePath() reads an answer of ip route get", () => {
  const answer = { type: "unicast", dst: "192.0.2.2", dev: "eth0", prefsrc: "192.0.2.1", flags: [], cache: [] };
  const path = { address: "192.0.2.2", device: "eth0", via: null, source: ip("192.0.2.1"), mtu: null };
  expect(parsePath(answer)).toEqual(path);
  expect(parsePath({ ...answer, metrics: [{ mtu: 1400 }] })).toEqual({ ...path, mtu: 1400 });
  expect(parsePath({ ...answer, type: "unreachable" })).toBeNull();
});

test("parseTunnelPeers() joins neighbours and forwarding by MAC and shows halves", () => {
  const neighbours = [
    { dst: "10.2.2.1", dev: "apollo-vx0", lladdr: "0a:70:0a:02:02:01", state: ["PERMANENT"] },
    { dst: "10.2.3.1", dev: "apollo-vx0", lladdr: "0a:70:0a:02:03:01", state: ["PERMANENT"] },
    { dst: "192.0.2.9", dev: "eth0", lladdr: "02:00:00:00:00:09", state: ["PERMANENT"] },
  ];
  const forwarding = [
    { mac: "0a:70:0a:02:02:01", dst: "192.0.2.2", flags: ["self"], state: "permanent" },
    { mac: "0a:70:0a:02:04:01", dst: "192.0.2.4", flags: ["self"], state: "permanent" },
  ];
  expect(parseTunnelPeers(neighbours, forwarding, "apollo-vx0")).toEqual([
    { gateway: ip("10.2.2.1"), mac: "0a:70:0a:02:02:01", underlay: ip("192.0.2.2") },
    { gateway: ip("10.2.3.1"), mac: "0a:70:0a:02:03:01", underlay: ip("0.0.0.0") },
    { gateway: ip("0.0.0.0"), mac: "0a:70:0a:02:04:01", underlay: ip("192.0.2.4") },
  ]);
});

test("parseRulesetDigest() trusts a table only with all its rules", () => {
  const table = (...comments: (string | null)[]): string =>
    JSON.stringify({
      nftables: [{ metainfo: {} }, ...comments.map((comment) => ({ rule: comment === null ? {} : { comment } }))],
    });
  expect(parseRulesetDigest([table("apollo ab12 1/2", "apollo ab12 2/2")])).toBe("ab12");
  expect(parseRulesetDigest([table("apollo ab12 1/2"), table("apollo ab12 2/2")])).toBe("ab12");
  expect(parseRulesetDigest([table("apollo ab12 1/2"), table("apollo cd34 2/2")])).toBe("altered");
  const altered = [
    table(),
    table("apollo ab12 1/2"),
    table("apollo ab12 1/2", "apollo ab12 1/2"),
    table("apollo ab12 1/2", "apollo cd34 2/2"),
    table("apollo ab12 1/2", "apollo ab12 2/2", null),
    table("mine"),
  ];
  expect(altered.map((text) => parseRulesetDigest([text]))).toEqual(altered.map(() => "altered"));
});

test("the readers give a value or an AppError for any JSON", () => {
  const dictionary = fc.constantFrom(
    "dst",
    "dev",
    "ifname",
    "flags",
    "mtu",
    "metrics",
    "gateway",
    "lladdr",
    "addr_info",
  );
  const record = fc.dictionary(dictionary, fc.jsonValue());
  fc.assert(
    fc.property(fc.array(fc.oneof(record, fc.jsonValue())), (entries) => {
      const readers = [parseLinks, parseRoutes, (list: readonly unknown[]) => list.map(parsePath)];
      for (const reader of [...readers, (list: readonly unknown[]) => parseTunnelPeers(list, list, "x")]) {
        try {
          expect(Array.isArray(reader(entries))).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }
    }),
  );
});

test("parseBatchOutput() gives one list a line", () => {
  expect(parseBatchOutput('[{"a":1}]\n[]\n\n[{"b":2},{}]\n')).toEqual([[{ a: 1 }], [], [{ b: 2 }, {}]]);
});

test("parseBridgePorts() takes ends of wires into other namespaces, parseInterfaceIndexes() the interfaces of a process", () => {
  const far = { ifindex: 7, ifname: "veth1", link_index: 6, link_netnsid: 0 };
  const near = { ifindex: 9, ifname: "tap0" };
  expect(parseBridgePorts([far, near, {}])).toEqual([{ device: "veth1", index: 7, farIndex: 6 }]);
  const igmp =
    "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n6\teth0      :     1      V3\n";
  expect(parseInterfaceIndexes(igmp)).toEqual([1, 6]);
  expect(parseInterfaceIndexes("")).toEqual([]);
});
