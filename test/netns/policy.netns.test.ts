import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { Ipv4 } from "../../src/model/ip.ts";
import { refusalCounter } from "../../src/network/policy/render-policy.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { LinuxHostNetwork } from "../../src/platform/linux/host-network.ts";
import type { Namespace } from "./network-lab.ts";
import { answersNoPing, clientSeenBy, lostPings, pings, takesNoConnection } from "./network-lab.ts";
import type { ContainerName, HostName } from "./policy-lab.ts";
import { CONTAINERS, PolicyLab, hexOfMac, rule } from "./policy-lab.ts";

const DB = CONTAINERS.dba.address;
const TCP = 5432;
const UDP = 5353;
const UDP_ANSWER = "udp-answer";

const lab = new PolicyLab("policy", null);
const space = (name: ContainerName | HostName): Namespace => lab.space(name);

const ONLY_WEB = rule({
  name: "db",
  from: [{ app: "/web" }],
  to: [{ app: "/db" }],
  ports: [
    { protocol: "tcp", from: TCP, to: TCP },
    { protocol: "udp", from: UDP, to: UDP + 1 },
  ],
});

async function reachesTcp(from: ContainerName | HostName, address: string = DB): Promise<boolean> {
  return (await clientSeenBy(space(from), address, TCP)) !== null;
}

/** A refused connection is dropped: nothing is said to it. */
function missesTcp(from: ContainerName | HostName, address: string = DB): Promise<boolean> {
  return takesNoConnection(space(from), address, TCP);
}

function missesPing(from: ContainerName | HostName, address: string = DB): Promise<boolean> {
  return answersNoPing(space(from), address);
}

/** A datagram may be lost on a busy machine, so it is asked a few times. */
async function reachesUdp(from: ContainerName | HostName): Promise<boolean> {
  for (let round = 0; round < 5; round += 1) if (await askUdp(from, 3)) return true;
  return false;
}

async function missesUdp(from: ContainerName | HostName): Promise<boolean> {
  return !(await askUdp(from, 0.7)) && !(await askUdp(from, 0.7));
}

async function askUdp(from: ContainerName | HostName, waitSec: number): Promise<boolean> {
  // It ends with the answer: a datagram has no end that could be waited for.
  const argv = ["socat", `-T${waitSec}`, `-t${waitSec}`, "-", `UDP:${DB}:${UDP},readbytes=${UDP_ANSWER.length + 1}`];
  const { stdout } = await space(from).runner.run(argv, { stdin: "hello\n", okCodes: [0, 1] });
  return stdout === `${UDP_ANSWER}\n`;
}

// A test that is ended in its middle leaves a container with a foreign MAC to the next ones.
setDefaultTimeout(60_000);

beforeAll(async () => {
  await lab.open((container) => lab.serve(container, TCP, "printenv SOCAT_PEERADDR"));
  const db = space("dba");
  // A program that does not read what it is asked may have ended before socat writes that, and its answer is lost then.
  lab.start(db, ["socat", "-t5", `UDP-RECVFROM:${UDP},fork`, `EXEC:sed -u s/.*/${UDP_ANSWER}/;q`]);
  await lab.listens(db, "-Hlun", UDP);
}, 60_000);

afterAll(async () => {
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
}, 60_000);

test("an open network lets all talk, and a second pass has nothing to do", async () => {
  await lab.enforce({});
  expect(await lab.pass("a", {})).toBe(0);
  for (const from of ["weba", "eva", "webb", "evb"] as const)
    expect([from, await reachesTcp(from)]).toEqual([from, true]);
  expect(await reachesUdp("evb")).toBe(true);
});

test("a rule closes its containers to others on this host and the next, for TCP, UDP and ICMP", async () => {
  await lab.enforce({ rules: [ONLY_WEB] });
  // One after the other: the UDP server takes one question at a time.
  for (const from of ["weba", "webb"] as const) {
    expect([from, await reachesTcp(from), await reachesUdp(from)]).toEqual([from, true, true]);
  }
  const others = ["eva", "evb"] as const;
  expect(await Promise.all((["weba", "webb", ...others] as const).map((from) => missesPing(from)))).toEqual(
    Array(4).fill(true),
  );
  expect(await Promise.all(others.map((from) => missesTcp(from)))).toEqual([true, true]);
  expect(await Promise.all(others.map((from) => missesUdp(from)))).toEqual([true, true]);
  // Nobody else is closed, and what the database itself begins is answered.
  expect(await reachesTcp("eva", CONTAINERS.webb.address)).toBe(true);
  expect(await reachesTcp("dba", CONTAINERS.evb.address)).toBe(true);
  const [group] = lab.planFor("a", { rules: [ONLY_WEB] }).groups;
  expect((await lab.refusedAt("a")).get(refusalCounter(group?.id ?? "")) ?? 0).toBeGreaterThan(8);
}, 60_000);

test("refusals are kept by who asked whom for what", async () => {
  await lab.enforce({ rules: [ONLY_WEB] });
  expect(await missesTcp("evb")).toBe(true);
  const refusals = await lab.countersOf("a").refusals();
  const mine = refusals.find(({ source, protocol }) => source === CONTAINERS.evb.address && protocol === "tcp");
  expect(mine).toMatchObject({ destination: DB, port: TCP });
  expect(mine?.packets ?? 0).toBeGreaterThan(0);
});

test("a closed network is open only where a rule says so; hosts need one as well, but for root on the host itself", async () => {
  const rules = [rule({ name: "web", from: [{ app: "/eve" }], to: [{ app: "/web" }] })];
  await lab.enforce({ policy: "deny", rules });
  const { webb } = CONTAINERS;
  const tries = [reachesTcp("eva", webb.address), missesTcp("weba"), missesTcp("dba", webb.address)];
  expect(await Promise.all(tries)).toEqual([true, true, true]);
  // Root on the container's own host: health checks. Others there and all on other hosts need a rule.
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "socat", "-u"];
  const asNobody = async (waitSec: number): Promise<boolean> => {
    const argv = [...nobody, `TCP:${DB}:${TCP},connect-timeout=${waitSec}`, "STDOUT"];
    return (await space("a").runner.run(argv, { okCodes: [0, 1] })).code === 0;
  };
  expect(await reachesTcp("a")).toBe(true);
  expect(await Promise.all([asNobody(0.7), missesTcp("b")])).toEqual([false, true]);
  await lab.enforce({ policy: "deny", rules: [...rules, rule({ name: "hosts", from: [{ host: "any" }] })] });
  expect([await reachesTcp("a"), await asNobody(8), await reachesTcp("b")]).toEqual([true, true, true]);
  expect(await missesTcp("weba")).toBe(true);
}, 60_000);

test("a container that takes another's address gets nowhere with it", async () => {
  await lab.enforce({ rules: [ONLY_WEB] });
  const eve = space("eva").runner;
  const before = await lab.spoofed("address");
  await eve.run(["ip", "address", "add", `${CONTAINERS.webb.address}/32`, "dev", "eth0"]);
  const argv = ["socat", "-T1", "-", `TCP:${DB}:${TCP},bind=${CONTAINERS.webb.address},connect-timeout=1`];
  const { code } = await eve.run(argv, { okCodes: [0, 1] });
  await eve.run(["ip", "address", "delete", `${CONTAINERS.webb.address}/32`, "dev", "eth0"]);
  expect(code).toBe(1);
  expect(await lab.spoofed("address")).toBeGreaterThan(before);
  expect(await pings(space("eva"), CONTAINERS.weba.address)).toBe(2);
});

test("a container that takes another MAC is not heard, and does not steal that MAC's port", async () => {
  await lab.enforce({});
  const eve = space("eva").runner;
  const own = lab.mac("eva");
  const before = await lab.spoofed("mac");
  await eve.run(["ip", "link", "set", "eth0", "address", lab.mac("weba")]);
  expect(await missesPing("eva")).toBe(true);
  expect(await lab.spoofed("mac")).toBeGreaterThan(before);
  expect(await pings(space("dba"), CONTAINERS.weba.address)).toBe(2);
  await eve.run(["ip", "link", "set", "eth0", "address", own]);
  expect(await pings(space("eva"), DB)).toBe(2);
});

test("a forged ARP answer does not reach the one it is meant for", async () => {
  await lab.enforce({});
  expect(await pings(space("dba"), CONTAINERS.weba.address)).toBe(2);
  const [eve, victim] = [hexOfMac(lab.mac("eva")), hexOfMac(lab.mac("dba"))];
  const before = await lab.spoofed("address");
  // Answer (2) to the database: "10.2.1.5, which is weba's, is at eve's MAC".
  const body = `0001080006040002${eve}${addressBytes(CONTAINERS.weba.address)}${victim}${addressBytes(DB)}`;
  await lab.sendFrame("eva", `${victim}${eve}0806${body}`);
  await lab.expectSpoofed("address", before + 1);
  const { stdout } = await space("dba").runner.run(["ip", "neighbour", "show", CONTAINERS.weba.address]);
  expect(stdout).toContain(lab.mac("weba"));
});

test("a VLAN tag does not carry a packet past the check", async () => {
  await lab.enforce({});
  const [eve, victim] = [hexOfMac(lab.mac("eva")), hexOfMac(lab.mac("dba"))];
  const before = await lab.spoofed("address");
  // An empty UDP packet of its own address: all is true of it but that it is inside a tag.
  const packet = `4500001c000000004011${"0000"}${addressBytes(CONTAINERS.eva.address)}${addressBytes(DB)}${"00".repeat(26)}`;
  await lab.sendFrame("eva", `${victim}${eve}810000050800${packet}`);
  await lab.expectSpoofed("address", before + 1);
  await lab.sendFrame("eva", `${victim}${eve}0800${packet}`);
  await lab.expectSpoofed("address", before + 1);
});

test("a router that nobody asked for is not heard; neighbour discovery is", async () => {
  await lab.enforce({});
  const eve = hexOfMac(lab.mac("eva"));
  const before = await lab.spoofed("address");
  const linkLocal = `fe80${"00".repeat(13)}07`;
  const all = `ff02${"00".repeat(13)}01`;
  const frame = (type: string): string =>
    `333300000001${eve}86dd6000000000183aff${linkLocal}${all}${type}00${"00".repeat(6)}${linkLocal}`;
  await lab.sendFrame("eva", frame("86"));
  await lab.expectSpoofed("address", before + 1);
  await lab.sendFrame("eva", frame("88"));
  await lab.expectSpoofed("address", before + 1);
});

test("a port that is not known yet may send in an open network and not in a closed one", async () => {
  const open = [rule({ name: "all" })];
  await lab.enforce({ rules: open, unknown: ["eva"] });
  expect(await pings(space("eva"), DB)).toBe(2);
  await lab.enforce({ policy: "deny", rules: open, unknown: ["eva"] });
  expect(await Promise.all([DB, CONTAINERS.webb.address].map((to) => missesPing("eva", to)))).toEqual([true, true]);
  await lab.enforce({ policy: "deny", rules: open });
  expect([await pings(space("eva"), DB), await pings(space("eva"), CONTAINERS.webb.address)]).toEqual([2, 2]);
});

test("tables that somebody deletes are found missing, put back, and taken away whole", async () => {
  await lab.enforce({ rules: [ONLY_WEB] });
  const { runner } = space("a");
  for (const family of ["bridge", "inet"]) {
    await runner.run(["nft", "delete", "table", family, "apollo"]);
    expect([await lab.pass("a", { rules: [ONLY_WEB] }), await lab.pass("a", { rules: [ONLY_WEB] })]).toEqual([1, 0]);
  }
  await new LinuxHostNetwork({ runner, clock: systemClock }).apply({ kind: "delete-ruleset" });
  expect((await runner.run(["nft", "list", "tables"])).stdout).not.toContain(" apollo");
});

test("rules replaced under traffic lose no packet of what is allowed, and connections that exist go on", async () => {
  await lab.enforce({ rules: [ONLY_WEB] });
  const more = rule({ name: "more", from: [{ app: "/web" }], to: [{ app: "/db" }] });
  await lab.enforce({ rules: [ONLY_WEB, more] });
  const lost = lostPings(space("webb"), DB, { count: 150, gapSec: 0.015 });
  let ended = false;
  void lost.finally(() => (ended = true)).catch(() => undefined);
  let changes = 0;
  while (!ended) {
    // ICMP is allowed by one of them only: what has begun under it goes on without.
    await lab.pass("a", { rules: changes % 2 === 0 ? [ONLY_WEB] : [ONLY_WEB, more] });
    changes += 1;
  }
  expect(changes).toBeGreaterThan(3);
  expect(await lost).toEqual([]);
}, 60_000);

function addressBytes(address: Ipv4): string {
  return address
    .split(".")
    .map((part) => Number(part).toString(16).padStart(2, "0"))
    .join("");
}
