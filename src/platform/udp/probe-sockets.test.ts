import { expect, test } from "bun:test";
import { AppError } from "../../model/error.ts";
import { parseIpv4 } from "../../model/ip.ts";
import { parseIpv6 } from "../../model/ip6.ts";
import { LinuxProbeSockets } from "./probe-sockets.ts";

const here = parseIpv4("127.0.0.1");
const there = parseIpv4("127.0.0.2");

/** A port that nobody has now: bound, read and given back. */
async function freePort(): Promise<number> {
  const socket = await Bun.udpSocket({ hostname: "0.0.0.0", port: 0 });
  const { port } = socket;
  socket.close();
  return port;
}

test("a datagram goes to the socket of exactly its address, the rest to the wildcard's; neither is ever in pieces", async () => {
  const sockets = new LinuxProbeSockets(await freePort());
  const got: string[] = [];
  const three = Promise.withResolvers<void>();
  const note =
    (name: string) =>
    (bytes: Uint8Array, from: string): void => {
      got.push(`${name} ${bytes.length} ${from}`);
      if (got.length === 2) three.resolve();
    };
  const any = await sockets.open("0.0.0.0", note("any"));
  const exact = await sockets.open(here, note("exact"));
  expect(exact.send(new Uint8Array(100), here)).toBe(true);
  expect(exact.send(new Uint8Array(9000), there)).toBe(true);
  // Larger than what the loopback device carries: it may not be split, so it is refused.
  expect(exact.send(new Uint8Array(65_600), here)).toBe(false);
  await three.promise;
  expect(got.toSorted()).toEqual(["any 9000 127.0.0.1", "exact 100 127.0.0.1"]);
  any.close();
  exact.close();
});

test("hosts that have IPv6 alone are probed, and answered at the address that was asked", async () => {
  const port = await freePort();
  const sockets = new LinuxProbeSockets(port);
  const loopback = parseIpv6("::1");
  const got: string[] = [];
  const two = Promise.withResolvers<void>();
  const any = await sockets.open("0.0.0.0", (bytes, from) => {
    got.push(`${bytes.length} ${from}`);
    if (got.length === 2) two.resolve();
  });
  expect(any.send(new Uint8Array(9000), loopback)).toBe(true);
  expect(any.send(new Uint8Array(100), here)).toBe(true);
  expect(any.send(new Uint8Array(65_600), loopback)).toBe(false);
  await two.promise;
  expect(got.toSorted()).toEqual(["100 127.0.0.1", "9000 ::1"]);
  any.close();
});

test("an address that is not there, and a port that others have, are told apart", async () => {
  const port = await freePort();
  const code = (address: string): Promise<string> =>
    new LinuxProbeSockets(port)
      .open(address, () => undefined)
      .then(
        () => "open",
        (error: unknown) => (error instanceof AppError ? error.code : "other"),
      );
  expect(await code("192.0.2.99")).toBe("unavailable");
  const other = await Bun.udpSocket({ hostname: here, port });
  expect(await code(here)).toBe("conflict");
  other.close();
  expect(await code(here)).toBe("open");
});
