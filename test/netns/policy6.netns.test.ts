import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { Ipv6 } from "../../src/model/ip6.ts";
import { ipv6ToNumber } from "../../src/model/ip6.ts";
import type { Namespace } from "./network-lab.ts";
import { answersNoPing, clientSeenBy, pings, takesNoConnection } from "./network-lab.ts";
import type { ContainerName, HostName } from "./policy-lab.ts";
import { PolicyLab, hexOfMac, rule } from "./policy-lab.ts";

const PORT = 5432;
const lab = new PolicyLab("policy6", "fd12:3456:789a::/64");
const space = (name: ContainerName | HostName): Namespace => lab.space(name);

const ports = [{ protocol: "tcp", from: PORT, to: PORT }];
const ONLY_WEB = rule({ name: "db", from: [{ app: "/web" }], to: [{ app: "/db" }], ports });

async function reaches(from: Namespace, name: ContainerName): Promise<boolean> {
  return (await clientSeenBy(from, `[${lab.address6(name)}]`, PORT)) !== null;
}

function misses(from: Namespace, name: ContainerName): Promise<boolean> {
  return takesNoConnection(from, `[${lab.address6(name)}]`, PORT);
}

// A busy machine makes each step slow; what counts is what happens.
setDefaultTimeout(120_000);

beforeAll(() => lab.open((container) => lab.serveBoth(container, PORT, "printenv SOCAT_PEERADDR")));

afterAll(async () => {
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
});

test("an open network lets all talk by IPv6, and a second pass has nothing to do", async () => {
  await lab.enforce({});
  for (const name of ["a", "b"] as const) expect(await lab.pass(name, {})).toBe(0);
  for (const from of ["weba", "eva", "webb", "evb"] as const) {
    expect([from, await reaches(space(from), "dba")]).toEqual([from, true]);
  }
});

test("a rule closes its containers by IPv6 too, on this host and from the next, and says whom it refused", async () => {
  await lab.enforce({ rules: [ONLY_WEB] });
  const friends = ["weba", "webb"] as const;
  const others = ["eva", "evb"] as const;
  expect(await Promise.all(friends.map((from) => reaches(space(from), "dba")))).toEqual([true, true]);
  expect(await Promise.all(others.map((from) => misses(space(from), "dba")))).toEqual([true, true]);
  expect(await answersNoPing(space("weba"), lab.address6("dba"))).toBe(true);
  expect(await reaches(space("dba"), "evb")).toBe(true);
  const refusals = await lab.countersOf("a").refusals();
  expect(
    refusals.some(({ source, destination }) => source === lab.address6("evb") && destination === lab.address6("dba")),
  ).toBe(true);
});

test("a closed network is open only where a rule says so; hosts need one, but for root on the host itself", async () => {
  await lab.enforce({ policy: "deny", rules: [rule({ name: "web", from: [{ app: "/eve" }], to: [{ app: "/web" }] })] });
  const tries = [reaches(space("eva"), "webb"), misses(space("weba"), "dba"), misses(space("b"), "dba")];
  expect(await Promise.all(tries)).toEqual([true, true, true]);
  expect(await reaches(space("a"), "dba")).toBe(true);
  await lab.enforce({ policy: "deny", rules: [rule({ name: "hosts", from: [{ host: "any" }] })] });
  expect(await reaches(space("b"), "dba")).toBe(true);
  await lab.enforce({ policy: "deny", rules: [rule({ name: "all" })], unknown: ["eva"] });
  expect(await answersNoPing(space("eva"), lab.address6("webb"))).toBe(true);
  await lab.enforce({ policy: "deny", rules: [rule({ name: "all" })] });
  expect(await pings(space("eva"), lab.address6("webb"))).toBe(2);
});

test("a container that takes another's IPv6 address gets nowhere with it", async () => {
  await lab.enforce({ rules: [ONLY_WEB] });
  const { runner } = space("eva");
  const before = await lab.spoofed("address");
  await runner.run(["ip", "address", "add", `${lab.address6("weba")}/128`, "dev", "eth0", "nodad"]);
  const target = `TCP:[${lab.address6("dba")}]:${PORT},bind=[${lab.address6("weba")}],connect-timeout=1`;
  const { code } = await runner.run(["socat", "-T1", "-", target], { okCodes: [0, 1] });
  await runner.run(["ip", "address", "delete", `${lab.address6("weba")}/128`, "dev", "eth0"]);
  expect(code).toBe(1);
  expect(await lab.spoofed("address")).toBeGreaterThan(before);
});

test("link-local addresses are for finding neighbours, not a way around rules", async () => {
  await lab.enforce({ rules: [ONLY_WEB] });
  const { stdout } = await space("dba").runner.run([
    "ip",
    "-6",
    "-j",
    "address",
    "show",
    "dev",
    "eth0",
    "scope",
    "link",
  ]);
  const local = /"local":\s*"(fe80:[^"]+)"/.exec(stdout)?.[1] ?? "none";
  const before = await lab.spoofed("address");
  expect(await takesNoConnection(space("eva"), `[${local}%eth0]`, PORT)).toBe(true);
  expect(await lab.spoofed("address")).toBeGreaterThan(before);
});

test("an announcement of another's address does not reach the one it is meant for; its own does", async () => {
  await lab.enforce({});
  expect(await pings(space("dba"), lab.address6("weba"))).toBe(2);
  const [eve, victim] = [hexOfMac(lab.mac("eva")), hexOfMac(lab.mac("dba"))];
  const before = await lab.spoofed("address");
  const frame = (target: Ipv6): string => {
    const body = `88000000a0000000${hexOf6(target)}0201${eve}`;
    const head = `60000000${"0020"}3aff${hexOf6(lab.address6("eva"))}${hexOf6(lab.address6("dba"))}`;
    const sum = checksum(`${hexOf6(lab.address6("eva"))}${hexOf6(lab.address6("dba"))}000000200000003a${body}`);
    return `${victim}${eve}86dd${head}${body.slice(0, 4)}${sum}${body.slice(8)}`;
  };
  await lab.sendFrame("eva", frame(lab.address6("weba")));
  await lab.expectSpoofed("address", before + 1);
  const { stdout } = await space("dba").runner.run(["ip", "neighbour", "show", lab.address6("weba")]);
  expect(stdout).toContain(lab.mac("weba"));
  await lab.sendFrame("eva", frame(lab.address6("eva")));
  await lab.expectSpoofed("address", before + 1);
});

/** The sum of all 16-bit words in ones' complement (RFC 1071). */
function checksum(hex: string): string {
  let sum = 0;
  for (let at = 0; at < hex.length; at += 4) sum += Number.parseInt(hex.slice(at, at + 4).padEnd(4, "0"), 16);
  while (sum > 0xff_ff) sum = (sum & 0xff_ff) + (sum >>> 16);
  return (~sum & 0xff_ff).toString(16).padStart(4, "0");
}

function hexOf6(address: Ipv6): string {
  return ipv6ToNumber(address).toString(16).padStart(32, "0");
}
