import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseIpv6 } from "../../model/ip6.ts";
import {
  parseListeningPorts,
  parseOwnAddresses,
  parsePortsOf,
  parsePortsWithoutReturn,
  parseUdpFlows,
} from "./parse-traffic.ts";

const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0101020A:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   3: 010200C0:0016 090200C0:D431 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0`;
const TCP6 = `  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A
   2: 0000000000000000FFFF0000010200C0:1F92 00000000000000000000000000000000:0000 0A
   3: 0000000000000000FFFF00000100007F:1F93 00000000000000000000000000000000:0000 0A`;

test("parseListeningPorts() finds what others can reach: not loopback, not what is hidden, not connections", () => {
  const hidden = (address: string): boolean => address === "10.2.1.1";
  expect(parseListeningPorts(TCP, "tcp", hidden)).toEqual(["22/tcp"]);
  expect(parseListeningPorts(TCP, "tcp", () => false)).toEqual(["22/tcp", "53/tcp"]);
  expect(parseListeningPorts(TCP6, "tcp", hidden)).toEqual(["443/tcp", "8082/tcp"]);
  expect(parseListeningPorts(TCP.replaceAll(" 0A ", " 07 "), "udp", hidden)).toEqual(["22/udp"]);
});

test("parseUdpFlows() reads where clients send to and who answers, each kind once", () => {
  const line = (source: string) =>
    `udp      17 29 src=${source} dst=10.3.0.7 sport=4000 dport=53 [UNREPLIED] src=10.2.1.6 dst=10.2.1.5 sport=5353 dport=4000 mark=134217728 use=1`;
  const other =
    "udp      17 1 src=10.2.1.5 dst=10.3.0.7 sport=1 dport=53 src=10.3.0.7 dst=10.2.1.5 sport=53 dport=1 use=1";
  expect(parseUdpFlows([line("10.2.1.5"), line("10.2.1.8"), other, "tcp 6 src=1.1.1.1"].join("\n"))).toMatchObject([
    { destination: "10.3.0.7", port: 53, answerFrom: "10.2.1.6", answerPort: 5353 },
    { destination: "10.3.0.7", port: 53, answerFrom: "10.3.0.7", answerPort: 53 },
  ]);
});

test("the readers take any text", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(parseUdpFlows(`udp ${text}`)).toEqual([]);
      expect(parseListeningPorts(text, "udp", () => false)).toEqual([]);
    }),
  );
});

test("the readers of iproute2's JSON take what fits and leave the rest", () => {
  const ports = [{ ifname: "veth1", hairpin: false }, { ifname: "veth2", hairpin: true }, { ifname: "veth3" }, null];
  expect(parsePortsWithoutReturn(ports)).toEqual(new Set(["veth1"]));
  expect(parsePortsWithoutReturn({})).toEqual(new Set());
  const neighbours = [{ dst: "10.2.1.5", lladdr: "02:00" }, { dst: "10.2.1.6" }, { dst: "10.2.1.7", lladdr: "02:09" }];
  expect([...parsePortsOf(neighbours, [{ mac: "02:00", ifname: "veth1" }, {}])]).toEqual([["10.2.1.5", "veth1"]]);
  const addresses = [{ addr_info: [{ local: "192.0.2.1" }, { local: "10.2.1.1" }] }, {}];
  expect([...parseOwnAddresses(addresses)].map(String)).toEqual(["192.0.2.1", "10.2.1.1"]);
});

test("the readers know IPv6, also where programs listen that nobody is to be sent away from", () => {
  const line =
    "udp      17 29 src=fd12::5 dst=fd12:0:0:0:a03:0:a03:7 sport=4000 dport=53 [UNREPLIED] src=fd12::6 dst=fd12::5 sport=5353 dport=4000 mark=0 use=1";
  expect(parseUdpFlows(line.replace("fd12:0:0:0:a03:0:a03:7", "fd12::a03:0:a03:7"))).toEqual([
    { destination: parseIpv6("fd12::a03:0:a03:7"), port: 53, answerFrom: parseIpv6("fd12::6"), answerPort: 5353 },
  ]);
  const gateway = TCP6.replace("00000000000000000000000000000000:01BB", "563412FD00009A780001020A0101020A:0035");
  expect(parseListeningPorts(gateway, "tcp", (address) => address === "fd12:3456:789a:0:a02:100:a02:101")).toEqual([
    "8082/tcp",
  ]);
  const addresses = [{ addr_info: [{ local: "fe80::1" }, { local: "10.2.1.1" }] }];
  expect([...parseOwnAddresses(addresses)].map(String)).toEqual(["fe80::1", "10.2.1.1"]);
});
