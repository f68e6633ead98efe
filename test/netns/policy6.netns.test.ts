import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Holder } from "../../src/model/holder.ts";
import { parseIpv4 } from "../../src/model/ip.ts";
import type { Ipv6 } from "../../src/model/ip6.ts";
import { ipv6ToNumber } from "../../src/model/ip6.ts";
import type { PolicyRule } from "../../src/model/network-config.ts";
import { parseNetworkObject } from "../../src/model/network-config.ts";
import { address6Of, gateway6Of, host6Of } from "../../src/network/address6.ts";
import { gatewayOf } from "../../src/network/blocks.ts";
import type { LocalPort } from "../../src/network/local-port.ts";
import { BRIDGE } from "../../src/network/plan-network.ts";
import { planPolicy } from "../../src/network/policy/plan-policy.ts";
import { planPolicy6 } from "../../src/network/policy/plan-policy6.ts";
import { renderPolicy } from "../../src/network/policy/render-policy.ts";
import { joinParts, renderPolicy6 } from "../../src/network/policy/render-policy6.ts";
import { SPOOF_COUNTERS, renderSourceCheck } from "../../src/network/policy/render-source-check.ts";
import { LinuxRuleCounters } from "../../src/platform/linux/rule-counters.ts";
import type { Namespace } from "./network-lab.ts";
import { NetworkLab, answersNoPing, clientSeenBy, pings, takesNoConnection, waitFor } from "./network-lab.ts";
import { WireguardHost, introduce } from "./wireguard-host.ts";

const RANGE6 = "fd12:3456:789a::/64";
const PORT = 5432;
const HOSTS = {
  a: { address: "192.0.2.1", block: "10.2.1.0/24" },
  b: { address: "192.0.2.2", block: "10.2.2.0/24" },
} as const;
type HostName = keyof typeof HOSTS;
const CONTAINERS = {
  weba: { host: "a", address: parseIpv4("10.2.1.5"), app: "/web" },
  dba: { host: "a", address: parseIpv4("10.2.1.6"), app: "/db" },
  eva: { host: "a", address: parseIpv4("10.2.1.7"), app: "/eve" },
  webb: { host: "b", address: parseIpv4("10.2.2.5"), app: "/web" },
  evb: { host: "b", address: parseIpv4("10.2.2.7"), app: "/eve" },
} as const;
type Name = keyof typeof CONTAINERS;
const NAMES = Object.keys(CONTAINERS) as Name[];
const lab = new NetworkLab("policy6");
const files = mkdtempSync(join(tmpdir(), "apollo-frames6-"));
const hosts = new Map<HostName, WireguardHost>();
const spaces = new Map<Name, Namespace>();
const macs = new Map<Name, string>();

const gateway = (host: HostName): ReturnType<typeof gatewayOf> => gatewayOf([HOSTS[host].block]);
function six(name: Name): Ipv6 {
  const { host, address } = CONTAINERS[name];
  return address6Of(host6Of(RANGE6, gateway(host)), address);
}
function space(name: Name): Namespace {
  const found = spaces.get(name);
  if (found === undefined) throw new Error(`There is no container ${name}`);
  return found;
}
function host(name: HostName): WireguardHost {
  const found = hosts.get(name);
  if (found === undefined) throw new Error(`There is no host ${name}`);
  return found;
}

const holders = NAMES.map((name): Holder => {
  const { host: at, address, app } = CONTAINERS[name];
  const owner = { network: "apollo", host: at, container: name, instance: null, app, services: [app.slice(1)] };
  return { id: `${at}:${name}:apollo`, address, address6: six(name), ...owner, labels: {} };
});

function portsOf(at: HostName): readonly LocalPort[] {
  return NAMES.filter((name) => CONTAINERS[name].host === at && macs.has(name)).map((name, index) => ({
    network: "apollo",
    device: `veth-${name}`,
    index,
    mac: macs.get(name) ?? "",
    addresses: [CONTAINERS[name].address],
    addresses6: [six(name)],
    container: name,
  }));
}

const rule = (value: object): PolicyRule => parseNetworkObject("policy", value);
const ports = [{ protocol: "tcp", from: PORT, to: PORT }];
const ONLY_WEB = rule({ name: "db", from: [{ app: "/web" }], to: [{ app: "/db" }], ports });

interface Want {
  readonly rules?: readonly PolicyRule[];
  readonly policy?: "open" | "deny";
  readonly unknown?: readonly Name[];
}

async function enforce({ rules = [], policy = "open", unknown = [] }: Want): Promise<void> {
  const networks = [{ name: "apollo", bridge: BRIDGE, policy }];
  const gateways = (["a", "b"] as const).map(gateway);
  const pairs = [
    ...holders.flatMap(({ address, address6 }) => (address6 === undefined ? [] : [{ address, address6 }])),
    ...gateways.map((address) => ({ address, address6: gateway6Of(RANGE6, address) })),
  ];
  for (const name of ["a", "b"] as const) {
    const plan = planPolicy({ networks, rules, holders, hostAddresses: gateways, host: name });
    const four = renderPolicy(plan);
    const part = four === null ? [] : [joinParts(four, renderPolicy6(planPolicy6(plan, pairs)))];
    const known = portsOf(name).filter(({ container }) => !unknown.some((each) => each === container));
    const strict = policy === "deny" ? [{ name: "apollo", bridge: BRIDGE }] : [];
    host(name).rules = [...part, renderSourceCheck(known, strict)];
    await host(name).pass();
  }
}

async function reaches(from: Namespace, name: Name): Promise<boolean> {
  return (await clientSeenBy(from, `[${six(name)}]`, PORT)) !== null;
}

function misses(from: Namespace, name: Name): Promise<boolean> {
  return takesNoConnection(from, `[${six(name)}]`, PORT);
}

async function spoofed(kind: keyof typeof SPOOF_COUNTERS): Promise<number> {
  const packets = await new LinuxRuleCounters({ runner: host("a").space.runner }).packets();
  return packets.get(SPOOF_COUNTERS[kind]) ?? 0;
}

/** A frame is counted a moment after it was sent. */
async function expectSpoofed(count: number): Promise<void> {
  await waitFor(`${count} refusals`, async () => (await spoofed("address")) >= count);
  expect(await spoofed("address")).toBe(count);
}

// A busy machine makes each step slow; what counts is what happens.
setDefaultTimeout(120_000);

beforeAll(async () => {
  for (const name of ["a", "b"] as const) {
    const { address, block } = HOSTS[name];
    const made = new WireguardHost(await lab.addNamespace(name), { name, address: parseIpv4(address), block });
    made.encryption = "off";
    made.range6 = RANGE6;
    hosts.set(name, made);
  }
  const end = (name: HostName) => ({ at: host(name).space, device: "eth0", address: `${HOSTS[name].address}/24` });
  await lab.wire(end("a"), end("b"));
  introduce([...hosts.values()]);
  await enforce({});
  for (const name of NAMES) {
    const { host: at, address } = CONTAINERS[name];
    const made = await lab.addContainer(host(at).space, name, address);
    await made.runner.run(["ip", "address", "add", `${six(name)}/96`, "dev", "eth0", "nodad"]);
    await made.runner.run(["ip", "route", "add", "default", "via", gateway6Of(RANGE6, gateway(at))]);
    spaces.set(name, made);
    macs.set(name, (await made.runner.run(["cat", "/sys/class/net/eth0/address"])).stdout.trim());
    lab.start(made, ["socat", `TCP6-LISTEN:${PORT},reuseaddr,fork,ipv6only=0`, "EXEC:printenv SOCAT_PEERADDR"]);
    await lab.listens(made, "-Hltn", PORT);
  }
});

afterAll(async () => {
  for (const one of hosts.values()) await one.close();
  await lab.close();
  rmSync(files, { recursive: true });
  expect(await lab.leftovers()).toEqual([]);
});

test("an open network lets all talk by IPv6, and a second pass has nothing to do", async () => {
  await enforce({});
  for (const name of ["a", "b"] as const) expect(await host(name).pass()).toEqual([]);
  for (const from of ["weba", "eva", "webb", "evb"] as const) {
    expect([from, await reaches(space(from), "dba")]).toEqual([from, true]);
  }
});

test("a rule closes its containers by IPv6 too, on this host and from the next, and says whom it refused", async () => {
  await enforce({ rules: [ONLY_WEB] });
  const friends = ["weba", "webb"] as const;
  const others = ["eva", "evb"] as const;
  expect(await Promise.all(friends.map((from) => reaches(space(from), "dba")))).toEqual([true, true]);
  expect(await Promise.all(others.map((from) => misses(space(from), "dba")))).toEqual([true, true]);
  expect(await answersNoPing(space("weba"), six("dba"))).toBe(true);
  expect(await reaches(space("dba"), "evb")).toBe(true);
  const refusals = await new LinuxRuleCounters({ runner: host("a").space.runner }).refusals();
  expect(refusals.some(({ source, destination }) => source === six("evb") && destination === six("dba"))).toBe(true);
});

test("a closed network is open only where a rule says so; hosts need one, but for root on the host itself", async () => {
  await enforce({ policy: "deny", rules: [rule({ name: "web", from: [{ app: "/eve" }], to: [{ app: "/web" }] })] });
  const tries = [reaches(space("eva"), "webb"), misses(space("weba"), "dba"), misses(host("b").space, "dba")];
  expect(await Promise.all(tries)).toEqual([true, true, true]);
  expect(await reaches(host("a").space, "dba")).toBe(true);
  await enforce({ policy: "deny", rules: [rule({ name: "hosts", from: [{ host: "any" }] })] });
  expect(await reaches(host("b").space, "dba")).toBe(true);
  await enforce({ policy: "deny", rules: [rule({ name: "all" })], unknown: ["eva"] });
  expect(await answersNoPing(space("eva"), six("webb"))).toBe(true);
  await enforce({ policy: "deny", rules: [rule({ name: "all" })] });
  expect(await pings(space("eva"), six("webb"))).toBe(2);
});

test("a container that takes another's IPv6 address gets nowhere with it", async () => {
  await enforce({ rules: [ONLY_WEB] });
  const { runner } = space("eva");
  const before = await spoofed("address");
  await runner.run(["ip", "address", "add", `${six("weba")}/128`, "dev", "eth0", "nodad"]);
  const target = `TCP:[${six("dba")}]:${PORT},bind=[${six("weba")}],connect-timeout=1`;
  const { code } = await runner.run(["socat", "-T1", "-", target], { okCodes: [0, 1] });
  await runner.run(["ip", "address", "delete", `${six("weba")}/128`, "dev", "eth0"]);
  expect(code).toBe(1);
  expect(await spoofed("address")).toBeGreaterThan(before);
});

test("link-local addresses are for finding neighbours, not a way around rules", async () => {
  await enforce({ rules: [ONLY_WEB] });
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
  const before = await spoofed("address");
  expect(await takesNoConnection(space("eva"), `[${local}%eth0]`, PORT)).toBe(true);
  expect(await spoofed("address")).toBeGreaterThan(before);
});

test("an announcement of another's address does not reach the one it is meant for; its own does", async () => {
  await enforce({});
  expect(await pings(space("dba"), six("weba"))).toBe(2);
  const [eve, victim] = [hexOf(macs.get("eva") ?? ""), hexOf(macs.get("dba") ?? "")];
  const before = await spoofed("address");
  const frame = (target: Ipv6): string => {
    const body = `88000000a0000000${hexOf6(target)}0201${eve}`;
    const head = `60000000${"0020"}3aff${hexOf6(six("eva"))}${hexOf6(six("dba"))}`;
    const sum = checksum(`${hexOf6(six("eva"))}${hexOf6(six("dba"))}000000200000003a${body}`);
    return `${victim}${eve}86dd${head}${body.slice(0, 4)}${sum}${body.slice(8)}`;
  };
  await sendFrame("eva", frame(six("weba")));
  await expectSpoofed(before + 1);
  const { stdout } = await space("dba").runner.run(["ip", "neighbour", "show", six("weba")]);
  expect(stdout).toContain(macs.get("weba") ?? "none");
  await sendFrame("eva", frame(six("eva")));
  await expectSpoofed(before + 1);
});

async function sendFrame(from: Name, hex: string): Promise<void> {
  const file = join(files, `${from}-${hex.length}`);
  await Bun.write(file, Buffer.from(hex, "hex"));
  await space(from).runner.run(["socat", "-u", `FILE:${file}`, "INTERFACE:eth0"]);
}

/** The sum of all 16-bit words in ones' complement (RFC 1071). */
function checksum(hex: string): string {
  let sum = 0;
  for (let at = 0; at < hex.length; at += 4) sum += Number.parseInt(hex.slice(at, at + 4).padEnd(4, "0"), 16);
  while (sum > 0xff_ff) sum = (sum & 0xff_ff) + (sum >>> 16);
  return (~sum & 0xff_ff).toString(16).padStart(4, "0");
}

function hexOf(mac: string): string {
  return mac.replaceAll(":", "");
}

function hexOf6(address: Ipv6): string {
  return ipv6ToNumber(address).toString(16).padStart(32, "0");
}
