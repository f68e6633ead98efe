import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { NetworkAction } from "../../src/platform/ports/host-network.ts";
import type { Namespace } from "./network-lab.ts";
import { NetworkLab, answersNoPing, bytesFrom, clientSeenBy, found, pings, waitFor } from "./network-lab.ts";
import type { WireguardHost } from "./wireguard-host.ts";
import { Capture, addSwitch } from "./wireguard-host.ts";
import { WireguardHosts } from "./wireguard-hosts.fixture.ts";

// Hosts a and b are on one wire; c is behind a router that hides it and lets nobody in. The router is the switch as well.
const TRANSFER_BYTES = 8_000_000;
const FILTER = "ip and (net 10.2.0.0/16 or udp port 6784 or icmp)";
const ADDRESSES = {
  a: { address: parseIpv4("192.0.2.1"), block: "10.2.1.0/24" },
  b: { address: parseIpv4("192.0.2.2"), block: "10.2.2.0/24" },
  c: { address: parseIpv4("198.51.100.3"), block: "10.2.3.0/24" },
} as const;
type Name = keyof typeof ADDRESSES;
const NAMES = ["a", "b", "c"] as const;
const NAT = `table ip hide {
  chain out { type nat hook postrouting priority 100; ip saddr 198.51.100.0/24 ip daddr 192.0.2.0/24 masquerade; }
  chain in { type filter hook forward priority 0; ip daddr 198.51.100.0/24 ct state new drop; }
}
`;
const lab = new NetworkLab("wg");
const files = mkdtempSync(join(tmpdir(), "apollo-wg-test-"));
const hosts = new WireguardHosts(NAMES, { lab, places: ADDRESSES, range6: null });
let capture: Capture | null = null;

const host = (name: Name): WireguardHost => hosts.get(name);
const container = (name: Name): Namespace => lab.space(`${name}5`);
const isMarker = (line: string): boolean => line.includes("192.0.2.254 > 192.0.2.2: ICMP echo request");
/** Of the range, or a tunnel with it inside. */
const isClear = (line: string): boolean => / 10\.2\.|\.6784[ :]/.test(line);

async function leaked(): Promise<readonly string[]> {
  return found(capture, "capture").linesWith(isMarker, isClear);
}

/** One packet that needs no answer. */
async function send(from: Namespace, address: string): Promise<void> {
  await from.runner.run(["ping", "-n", "-c", "1", "-W", "0.05", address], { okCodes: [0, 1] });
}

async function settle(names: readonly Name[] = NAMES): Promise<void> {
  for (const name of names) await host(name).pass();
}

beforeAll(async () => {
  const middle = await addSwitch(lab, "192.0.2.254/24");
  await middle.runner.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  await middle.runner.run(["nft", "-f", "-"], { stdin: NAT });
  for (const name of NAMES) {
    const { address } = ADDRESSES[name];
    const made = await hosts.add(name);
    const far = { at: middle, device: `to-${name}`, ...(name === "c" ? { address: "198.51.100.254/24" } : {}) };
    await lab.wire({ at: made.space, device: "eth0", address: `${address}/24` }, far);
    if (name !== "c") await middle.runner.run(["ip", "link", "set", `to-${name}`, "master", "lan"]);
    const next = name === "c" ? "198.51.100.254" : "192.0.2.254";
    await made.space.runner.run(["ip", "route", "add", "default", "via", next]);
  }
  hosts.introduce();
  await settle();
  for (const name of NAMES) {
    const address = parseIpv4(ADDRESSES[name].block.replace(".0/24", ".5"));
    const made = await hosts.addContainer(name, `${name}5`, address);
    await lab.serve(made, 8080, "printenv SOCAT_PEERADDR");
    await lab.serve(made, 9000, `head -c ${TRANSFER_BYTES} /dev/zero`);
  }
  await lab.serve(host("b").space, 8081, "printenv SOCAT_PEERADDR");
  const marker = (): Promise<void> => send(middle, "192.0.2.2");
  capture = await Capture.start(middle, { filter: FILTER, marker, isMarker });
}, 60_000);

afterAll(async () => {
  await capture?.stop();
  await hosts.close();
  await lab.close();
  rmSync(files, { recursive: true });
  expect(await lab.leftovers()).toEqual([]);
}, 60_000);

test("without encryption the wire shows what containers say: the capture sees it", async () => {
  expect(await clientSeenBy(container("a"), "10.2.2.5", 8080)).toBe("10.2.1.5");
  expect((await leaked()).length).toBeGreaterThan(0);
});

test("from the first action of the pass that encrypts, nothing more leaves in the clear", async () => {
  const traffic: string[] = [];
  for (const name of ["a", "b", "c"] as const) {
    host(name).encryption = "required";
    let sealed = false;
    await host(name).pass(async ({ kind }: NetworkAction) => {
      if (kind === "put-ruleset") sealed = true;
      if (!sealed) return;
      found(capture, "capture").lines.length = 0;
      await Promise.all([
        ...["10.2.1.5", "10.2.2.5", "10.2.3.5"].map((to) => send(container(name), to)),
        ...["10.2.1.1", "10.2.2.1", "10.2.3.1"].map((to) => send(host(name).space, to)),
      ]);
      // The others may not know yet: only what this host sends counts.
      const own = ADDRESSES[name].block.replace(".0/24", ".");
      traffic.push(
        ...(await leaked()).filter((line) => line.includes(`IP ${own}`) || line.includes(ADDRESSES[name].address)),
      );
    });
    expect(sealed).toBe(true);
  }
  expect(traffic).toEqual([]);
  for (const name of ["a", "b", "c"] as const) expect(await host(name).pass()).toEqual([]);
}, 60_000);

test("containers and hosts reach each other through WireGuard, keep their addresses, and the wire shows none of it", async () => {
  found(capture, "capture").lines.length = 0;
  expect(await clientSeenBy(container("a"), "10.2.2.5", 8080)).toBe("10.2.1.5");
  expect(await clientSeenBy(container("b"), "10.2.1.5", 8080)).toBe("10.2.2.5");
  expect(await clientSeenBy(host("a").space, "10.2.2.5", 8080)).toBe("10.2.1.1");
  expect(await clientSeenBy(container("a"), "10.2.2.1", 8081)).toBe("10.2.1.5");
  expect(await bytesFrom(container("a"), "10.2.2.5", 9000)).toBe(TRANSFER_BYTES);
  expect(await leaked()).toEqual([]);
}, 60_000);

test("the path is 1440 bytes wide: those pass whole, 1441 are refused", async () => {
  expect(await pings(container("a"), "10.2.2.5", 1440)).toBe(2);
  expect(await answersNoPing(container("a"), "10.2.2.5", 1441)).toBe(true);
});

test("a host behind NAT is reached once it has spoken, and what WireGuard learnt of it is left alone", async () => {
  // Its keepalive speaks at once; nobody can come in before.
  await waitFor("a way in to c", async () => (await clientSeenBy(container("a"), "10.2.3.5", 8080)) !== null);
  expect(await clientSeenBy(container("a"), "10.2.3.5", 8080)).toBe("10.2.1.5");
  expect(await clientSeenBy(container("c"), "10.2.2.5", 8080)).toBe("10.2.3.5");
  expect(await bytesFrom(container("b"), "10.2.3.5", 9000)).toBe(TRANSFER_BYTES);
  const { wireguard } = await host("a").observe();
  const peer = wireguard?.peers.find(({ publicKey }) => publicKey === host("c").keys.announced().publicKey);
  expect(peer?.endpoint).toStartWith("192.0.2.254:");
  expect(peer?.keepaliveSec).toBe(25);
  expect(await host("a").pass()).toEqual([]);
}, 60_000);

test("only the host that has a block may send from it", async () => {
  // b takes an address of c's: a's WireGuard knows whose it is.
  await host("b").space.runner.run(["ip", "address", "add", "10.2.3.9/32", "dev", "lo"]);
  const before = await echoesInto(container("a"));
  await pingFrom(host("b").space, "10.2.3.9", "10.2.1.5");
  expect(await echoesInto(container("a"))).toBe(before);
  await pingFrom(host("b").space, "10.2.2.1", "10.2.1.5");
  await waitFor("echoes", async () => (await echoesInto(container("a"))) >= before + 2);
  expect(await echoesInto(container("a"))).toBe(before + 2);
  await host("b").space.runner.run(["ip", "address", "delete", "10.2.3.9/32", "dev", "lo"]);
});

async function pingFrom(space: Namespace, source: string, target: string): Promise<void> {
  const argv = ["ping", "-n", "-c", "2", "-i", "0.2", "-W", "0.5", "-I", source, target];
  await space.runner.run(argv, { okCodes: [0, 1] });
}

/** Echo requests that its kernel took in. */
async function echoesInto(space: Namespace): Promise<number> {
  const { stdout } = await space.runner.run(["nstat", "-asz", "IcmpInEchos"]);
  return Number(found(/IcmpInEchos\s+(\d+)/.exec(stdout)?.[1], "counter IcmpInEchos"));
}

test("what comes in the clear under an address of the range is not let in", async () => {
  const { runner } = lab.space("lan");
  await runner.run(["ip", "address", "add", "10.2.3.77/32", "dev", "lo"]);
  await runner.run(["ip", "route", "add", "10.2.1.0/24", "via", "192.0.2.1"]);
  const before = await echoesInto(container("a"));
  await pingFrom(lab.space("lan"), "10.2.3.77", "10.2.1.5");
  expect(await echoesInto(container("a"))).toBe(before);
  const { stdout } = await host("a").space.runner.run([
    "nft",
    "list",
    "counter",
    "inet",
    "apollo",
    "encryption_arriving",
  ]);
  expect(Number(/packets (\d+)/.exec(stdout)?.[1])).toBeGreaterThanOrEqual(2);
  await runner.run(["ip", "route", "delete", "10.2.1.0/24"]);
  await runner.run(["ip", "address", "delete", "10.2.3.77/32", "dev", "lo"]);
});

test("a transfer outlives the change of keys, told or not told by a server", async () => {
  found(capture, "capture").lines.length = 0;
  for (const told of [true, false]) {
    const gapMs = await rotateUnderTransfer(told);
    console.log(`  keys rotated under a transfer (${told ? "told" : "not told"}): longest gap ${gapMs} ms`);
  }
  // Dropped once the others know the new pair.
  hosts.introduce();
  await settle();
  const { wireguard } = await host("b").observe();
  const known = [host("a"), host("c")].flatMap(({ keys }) => Object.values(keys.announced()));
  expect(new Set(wireguard?.peers.map(({ publicKey }) => publicKey))).toEqual(new Set(known));
  for (const name of ["a", "b", "c"] as const) expect(await host(name).pass()).toEqual([]);
  expect(await clientSeenBy(container("a"), "10.2.2.5", 8080)).toBe("10.2.1.5");
  expect(await leaked()).toEqual([]);
}, 60_000);

/** A paced transfer from a's container to b's; the keys of a change in its middle. Returns the longest pause, ms. */
async function rotateUnderTransfer(told: boolean): Promise<number> {
  const port = told ? 9101 : 9102;
  const arrivals: number[] = [];
  const end = join(files, `end-${port}`);
  // It goes on until it is told to end: the change is in its middle, however long that takes.
  const sender = `i=0; while [ ! -e ${end} ]; do i=$((i+1)); echo $i; sleep 0.02; done`;
  const stop = new AbortController();
  lab.start(container("a"), ["socat", `TCP-LISTEN:${port},reuseaddr`, `SYSTEM:${sender}`]);
  await lab.listens(container("a"), "-Hltn", port);
  const argv = ["socat", "-u", `TCP:10.2.1.5:${port},connect-timeout=10`, "STDOUT"];
  const numbers: string[] = [];
  const done = container("b").runner.follow(
    argv,
    (line) => {
      numbers.push(line);
      arrivals.push(performance.now());
    },
    stop.signal,
  );
  await waitFor("the start of the transfer", async () => numbers.length > 20);
  host("a").keys.rotate(Date.now());
  if (told) hosts.introduce();
  await host("a").pass();
  // b sees the new key at work and follows, whether it was told or not.
  await waitFor("b to follow", async () => {
    await host("b").pass();
    const { wireguard } = await host("b").observe();
    const peer = wireguard?.peers.find(({ publicKey }) => publicKey === host("a").keys.announced().publicKey);
    return peer?.allowedIps.join() === ADDRESSES.a.block;
  });
  const before = numbers.length;
  await waitFor("the transfer to go on", async () => numbers.length > before + 20);
  writeFileSync(end, "");
  expect(await done).toBe(0);
  expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, index) => String(index + 1)));
  return Math.round(Math.max(...arrivals.slice(1).map((at, index) => at - (arrivals[index] ?? at))));
}

test("a silent host behind NAT that changes its key is followed at once: it greets the others with it", async () => {
  host("c").keys.rotate(Date.now());
  await host("c").pass();
  const { publicKey } = host("c").keys.announced();
  // Its next keepalive would come later than this waits.
  await waitFor("the handshake with the new key", async () => {
    const { wireguard } = await host("a").observe();
    return wireguard?.peers.some((peer) => peer.publicKey === publicKey && peer.handshakeAgeMs !== null) === true;
  });
  await settle(["a", "b"]);
  expect(await clientSeenBy(container("a"), "10.2.3.5", 8080)).toBe("10.2.1.5");
  hosts.introduce();
  await settle();
}, 60_000);

test("the program outlives whoever started it, is found again, and is started again when it dies", async () => {
  const [pid] = await host("a").space.programs();
  expect(pid).toBeNumber();
  expect(await host("a").pass()).toEqual([]);
  expect(await host("a").space.programs()).toEqual([found(pid, "program")]);
  process.kill(found(pid, "program"), "SIGKILL");
  // Its device goes a moment after it: a pass in between would want to delete what is not there any more.
  await waitFor("the end of the program and its device", async () => {
    const { code } = await host("a").space.runner.run(["ip", "link", "show", "apollo-wg0"], { okCodes: [0, 1] });
    return code === 1 && (await host("a").space.programs()).length === 0;
  });
  found(capture, "capture").lines.length = 0;
  for (const to of ["10.2.2.5", "10.2.3.5"]) await send(container("a"), to);
  expect((await host("a").pass()).map(({ kind }) => kind)).toContain("add-wireguard");
  await waitFor("the way to b", async () => (await clientSeenBy(container("a"), "10.2.2.5", 8080)) === "10.2.1.5");
  expect(await leaked()).toEqual([]);
  expect(await host("a").pass()).toEqual([]);
}, 60_000);

test("without its routes and its device a host sends nothing, where the rules alone stop it", async () => {
  const { runner } = host("a").space;
  // The way to everything else is the uplink then.
  for (const route of ["10.2.0.0/16", "10.2.2.0/24", "10.2.3.0/24"]) await runner.run(["ip", "route", "delete", route]);
  found(capture, "capture").lines.length = 0;
  await send(container("a"), "10.2.2.5");
  await send(host("a").space, "10.2.2.5");
  expect(await leaked()).toEqual([]);
  // The same without the rules: this is what they hold back.
  await runner.run(["nft", "delete", "table", "inet", "apollo"]);
  await send(container("a"), "10.2.2.5");
  expect((await leaked()).length).toBeGreaterThan(0);
  await host("a").pass();
  found(capture, "capture").lines.length = 0;
  expect(await clientSeenBy(container("a"), "10.2.2.5", 8080)).toBe("10.2.1.5");
  expect(await leaked()).toEqual([]);
}, 60_000);

test("a host without WireGuard says what to install, and sends nothing rather than clear text", async () => {
  const one = host("b");
  await one.space.runner.run(["ip", "link", "delete", "apollo-wg0"]);
  one.which = (program) => (program === "wireguard-go" ? null : Bun.which(program));
  const { plan } = await one.plan();
  expect(plan.conditions.map(({ code }) => code)).toContain("wireguard-missing");
  expect(plan.conditions.find(({ code }) => code === "wireguard-missing")?.hint).toContain("apt-get install wireguard");
  await one.pass();
  found(capture, "capture").lines.length = 0;
  await send(container("b"), "10.2.1.5");
  await send(one.space, "10.2.1.5");
  expect(await leaked()).toEqual([]);
  expect((await one.observe()).routes.filter(({ marked }) => marked)).toEqual([]);
  one.which = Bun.which;
  await one.pass();
  await waitFor("the way to a", async () => (await clientSeenBy(container("b"), "10.2.1.5", 8080)) === "10.2.2.5");
}, 60_000);

test("a host that leaves ends the program and takes rules and routes along", async () => {
  await host("a").leave();
  await waitFor("the end of the program", async () => (await host("a").space.programs()).length === 0);
  const state = await host("a").observe();
  expect(state.links.map(({ name }) => name).filter((name) => name.startsWith("apollo"))).toEqual([]);
  expect(state.rulesetDigest).toBeNull();
  expect(state.routes.filter(({ marked }) => marked)).toEqual([]);
});
