import { expect, test } from "bun:test";
import { parseIpv6 } from "../../model/ip6.ts";
import { parseLinks, parsePath, parseRoutes, parseTunnelPeers } from "./parse-ip-output.ts";
import { parseAddresses6, parseAnnounced, parseNeighbours6, parseRoutes6 } from "./parse-ip6-output.ts";

const six = parseIpv6;
const json = (text: string): unknown[] => JSON.parse(text) as unknown[];

test("parseRoutes6() reads routes as ip writes them, and which devices a router was heard on", () => {
  const entries = json(`[{},
    {"type":"unicast","dst":"fd00:1::a:0:0/96","gateway":"fe80::1","dev":"eth0","protocol":"201","prefsrc":"fd00:1::1",
     "metric":1024,"flags":["onlink"],"metrics":[{"mtu":1400}],"pref":"medium"},
    {"type":"unreachable","dst":"fd00:9::/64","dev":"lo","flags":[]},
    {"type":"unicast","dst":"2001:db8::7","dev":"eth0","protocol":"static","flags":[]},
    {"type":"unicast","dst":"default","gateway":"fe80::9","dev":"eth0","protocol":"ra","flags":[]},
    {"type":"unicast","dst":"default","gateway":"fe80::8","dev":"eth1","protocol":"boot","flags":[]}]`);
  const plain = { source: null, mtu: null, onlink: false, marked: false };
  expect(parseRoutes6(entries)).toEqual([
    {
      destination: "fd00:1::a:0:0/96",
      via: six("fe80::1"),
      device: "eth0",
      source: six("fd00:1::1"),
      mtu: 1400,
      onlink: true,
      marked: true,
    },
    { ...plain, destination: "2001:db8::7/128", via: null, device: "eth0" },
    { ...plain, destination: "::/0", via: six("fe80::9"), device: "eth0" },
    { ...plain, destination: "::/0", via: six("fe80::8"), device: "eth1" },
  ]);
  expect(parseAnnounced(entries)).toEqual(["eth0"]);
});

test("parseAddresses6() and parseNeighbours6() leave IPv4 and what has no MAC out", () => {
  const links = json(`[{"ifname":"eth0","addr_info":[{"family":"inet","local":"192.0.2.1","prefixlen":24},
    {"family":"inet6","local":"fe80::6170:0:c000:201","prefixlen":64,"nodad":true}]},{"ifname":"lo"}]`);
  expect(parseAddresses6(links)).toEqual([{ device: "eth0", address: six("fe80::6170:0:c000:201"), prefix: 64 }]);
  const neighbours = json(`[{"dst":"fd00::1","dev":"vx","lladdr":"0a:70:0a:02:03:01"},{"dst":"fd00::2","dev":"vx"},
    {"dst":"10.2.3.1","dev":"vx","lladdr":"0a:70:0a:02:03:01"}]`);
  expect(parseNeighbours6(neighbours)).toEqual([{ device: "vx", address: six("fd00::1"), mac: "0a:70:0a:02:03:01" }]);
});

test("an IPv6 underlay shows in routes of IPv4 blocks, tunnels, their peers, and paths", () => {
  const routes =
    json(`[{"dst":"10.2.2.0/24","via":{"family":"inet6","host":"2001:db8:1::2"},"dev":"eth0","protocol":"201",
    "prefsrc":"10.2.1.1","flags":[],"metrics":[{"mtu":1500}]}]`);
  expect(parseRoutes(routes)[0]).toMatchObject({ destination: "10.2.2.0/24", via: six("2001:db8:1::2"), marked: true });
  const [link] = parseLinks(
    json(`[{"ifindex":3,"ifname":"vx","flags":[],"mtu":1430,"linkinfo":{"info_kind":"vxlan",
      "info_data":{"id":201,"local6":"2001:db8:1::1","port":6784}}}]`),
  );
  expect(link?.vxlan).toEqual({ vni: 201, local: six("2001:db8:1::1"), port: 6784 });
  const peers = parseTunnelPeers(
    json(
      `[{"dst":"10.2.3.1","dev":"vx","lladdr":"0a:70:0a:02:03:01"},{"dst":"fd00::1","dev":"vx","lladdr":"0a:70:0a:02:03:01"}]`,
    ),
    json(`[{"mac":"0a:70:0a:02:03:01","dst":"2001:db8:2::3"}]`),
    "vx",
  );
  expect(peers.map(({ gateway, underlay }) => [gateway as string, underlay as string])).toEqual([
    ["10.2.3.1", "2001:db8:2::3"],
  ]);
  const [answer] = json(
    `[{"dst":"2001:db8:2::3","gateway":"fe80::9","dev":"eth0","prefsrc":"2001:db8:1::1","flags":[],"metrics":[]}]`,
  );
  expect(parsePath(answer)).toMatchObject({ device: "eth0", via: six("fe80::9"), source: six("2001:db8:1::1") });
});
