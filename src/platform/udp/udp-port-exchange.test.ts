import { expect, test } from "bun:test";
import { parseIpv4 } from "../../model/ip.ts";
import { parseIpv6 } from "../../model/ip6.ts";
import { systemClock } from "../clock/system-clock.ts";
import { UdpPortExchange } from "./udp-port-exchange.ts";

const LOOPBACK = parseIpv4("127.0.0.1");
const TOKEN = "0123456789abcdef0123456789abcdef";
const exchange = new UdpPortExchange(systemClock);

/** Of the kernel's choice, free a moment ago. */
async function freePort(): Promise<number> {
  const socket = await Bun.udpSocket({ hostname: "127.0.0.1" });
  const { port } = socket;
  socket.close();
  return port;
}

test("exchange() hears peers that know the token, and itself when it is one of them", async () => {
  const port = await freePort();
  const want = { token: TOKEN, self: "a", peers: [{ name: "a", address: LOOPBACK }], ports: [port], forMs: 1 };
  expect(await exchange.exchange(want)).toEqual({ opened: [port], heard: [{ from: "a", port }] });
});

test("exchange() hears peers by IPv6 on the same ports", async () => {
  const port = await freePort();
  const peers = [{ name: "a", address: parseIpv6("::1") }];
  const want = { token: TOKEN, self: "a", peers, ports: [port], forMs: 1 };
  expect(await exchange.exchange(want)).toEqual({ opened: [port], heard: [{ from: "a", port }] });
});

test("exchange() does not count words with another token, of strangers, or of another form", async () => {
  const port = await freePort();
  const stranger = await Bun.udpSocket({ hostname: "127.0.0.1" });
  const words = [
    `apollo-doctor ${"f".repeat(32)} a`,
    `apollo-doctor ${TOKEN} stranger`,
    "",
    "apollo-doctor",
    `other ${TOKEN} a`,
  ];
  const send = setInterval(() => {
    for (const word of words) stranger.send(word, port, "127.0.0.1");
  }, 20);
  const peers = [{ name: "a", address: parseIpv4("127.0.0.2") }];
  // To a peer that hears nothing on that address; what comes is the stranger's.
  const heard = await exchange.exchange({ token: TOKEN, self: "b", peers, ports: [port], forMs: 1 });
  clearInterval(send);
  stranger.close();
  expect(heard).toEqual({ opened: [port], heard: [] });
});

test("exchange() says which ports somebody else has", async () => {
  const taken = await Bun.udpSocket({ hostname: "0.0.0.0" });
  const want = { token: TOKEN, self: "a", peers: [], ports: [taken.port], forMs: 0 };
  expect(await exchange.exchange(want)).toEqual({ opened: [], heard: [] });
  taken.close();
});
