import { afterAll, beforeAll, expect, test } from "bun:test";
import { LinkLab } from "./link-lab.ts";
import type { Namespace } from "./network-lab.ts";
import { bytesFrom, clientSeenBy, lostPings, pings } from "./network-lab.ts";

// Hosts a, b and c share a switch, r is behind its router.
const lab = new LinkLab("links");
const NAMES = ["a", "b", "c", "r4"] as const;
const TRANSFER_BYTES = 3_000_000;
const containers = new Map<string, Namespace>();

function container(name: string): Namespace {
  const found = containers.get(name);
  if (found === undefined) throw new Error(`There is no container on ${name}`);
  return found;
}

const mode = (from: string, to: string): string => lab.link(from, to)?.mode ?? "unknown";
const up = (from: string, to: string): boolean => lab.link(from, to)?.up === true;
const others = (name: string): readonly string[] => NAMES.filter((other) => other !== name);

beforeAll(async () => {
  await lab.open(NAMES);
  for (const name of NAMES) lab.start(name);
  await lab.until("every link answers", () => NAMES.every((from) => others(from).every((to) => up(from, to))));
  for (const name of ["a", "b"]) containers.set(name, await lab.addContainer(name));
  await lab.serve(container("b"), 8080, "printenv SOCAT_PEERADDR");
  await lab.serve(container("b"), 9000, `head -c ${TRANSFER_BYTES} /dev/zero`);
}, 90_000);

afterAll(async () => {
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
}, 60_000);

test("hosts of one switch are direct, one behind a router is reached through VXLAN, both with measured MTU", async () => {
  await lab.until("MTUs are measured", () => lab.link("a", "r4")?.mtu === 1450 && lab.link("a", "b")?.mtu === 1500);
  expect([mode("a", "b"), mode("b", "a"), mode("a", "r4"), mode("r4", "a")]).toEqual([
    "direct",
    "direct",
    "vxlan",
    "vxlan",
  ]);
  expect(lab.link("a", "r4")?.rttMs).toBeGreaterThan(0);
  expect(lab.conditions("a").map(({ code }) => code)).toEqual([]);
  expect(await clientSeenBy(container("a"), "10.2.2.5", 8080)).toBe("10.2.1.5");
});

test("a switch that drops container addresses: VXLAN, said with its cause; direct again when it lets them pass", async () => {
  await lab.filter(["ip saddr 10.2.0.0/16 drop"]);
  await lab.until("a and b use VXLAN", () => mode("a", "b") === "vxlan" && mode("b", "a") === "vxlan");
  await lab.until("containers reach each other", async () => (await pings(container("a"), "10.2.2.5")) === 2);
  await lab.until("it answers", () => up("a", "b"));
  const condition = lab.conditions("a").find(({ code, text }) => code === "link-degraded" && text.includes('"b"'));
  expect(condition?.text).toContain("direct packets of containers do not pass");
  expect(lab.link("a", "b")?.mtu).toBe(1450);
  await lab.filter([]);
  await lab.until("a and b are direct again", () => mode("a", "b") === "direct" && mode("b", "a") === "direct");
  await lab.until("no condition is left", () => NAMES.every((name) => lab.conditions(name).length === 0));
  expect(await clientSeenBy(container("a"), "10.2.2.5", 8080)).toBe("10.2.1.5");
  // b was tried at the address that it has told, and has not taken the first one of its block.
  const { stdout } = await lab.space("b").runner.run(["ip", "-o", "address", "show", "dev", "apollo0"]);
  expect([stdout.includes("10.2.2.130/32"), stdout.includes("10.2.2.0/32")]).toEqual([true, false]);
}, 120_000);

test("large packets vanish without ICMP: the MTU is found, and a large transfer passes", async () => {
  await lab.filter(["meta length > 1400 drop"]);
  await lab.until("the MTU is found", () => lab.link("a", "b")?.mtu === 1400 && lab.link("b", "a")?.mtu === 1400);
  expect(mode("a", "b")).toBe("direct");
  expect(lab.link("a", "b")?.why).toContain("carries 1400 bytes of 1500");
  const [before, unused] = [lab.link("a", "b")?.rxBytes ?? 0, lab.link("a", "c")?.rxBytes ?? 0];
  expect(await bytesFrom(container("a"), "10.2.2.5", 9000)).toBe(TRANSFER_BYTES);
  await lab.until("it is counted", () => (lab.link("a", "b")?.rxBytes ?? 0) - before > TRANSFER_BYTES);
  await lab.until("b has counted it as well", () => (lab.link("b", "a")?.txBytes ?? 0) > TRANSFER_BYTES);
  // Probes are no traffic, and nobody else's link has anything of it.
  expect((lab.link("a", "c")?.rxBytes ?? 0) - unused).toBeLessThan(TRANSFER_BYTES / 100);
  await lab.filter([]);
}, 120_000);

test("two hosts cut from each other, one way is enough, go through the third and back", async () => {
  await lab.filter(['iifname "to-a" oifname "to-b" drop']);
  const started = performance.now();
  await lab.until("a and b use a relay", () => mode("a", "b") === "relay" && mode("b", "a") === "relay");
  await lab.until("containers reach each other", async () => (await pings(container("a"), "10.2.2.5")) === 2);
  if (process.env["FIGURES"]) console.log(`relayed after ${Math.round(performance.now() - started)} ms`);
  expect(await clientSeenBy(container("a"), "10.2.2.5", 8080)).toBe("10.2.1.5");
  const condition = lab.conditions("a").find(({ code }) => code === "link-degraded");
  expect(condition?.text).toContain("does not answer this host");
  await lab.filter([]);
  const tookMs = await lab.until(
    "they are direct again",
    () => mode("a", "b") === "direct" && mode("b", "a") === "direct",
  );
  if (process.env["FIGURES"]) console.log(`direct again after ${Math.round(tookMs)} ms`);
  await lab.until("containers reach each other", async () => (await pings(container("a"), "10.2.2.5")) === 2);
}, 120_000);

test("a host that is cut off from all keeps its routes, and is back when the cut heals", async () => {
  const cut = async (): Promise<void> => {
    await lab.until("all is well", () => mode("a", "b") === "direct" && mode("b", "a") === "direct" && up("a", "b"));
    await lab.filter(['iifname "to-b" drop', 'oifname "to-b" drop']);
    await lab.until("b is silent", () => lab.link("a", "b")?.up === false);
  };
  await cut();
  // On a machine that is so busy that a misses b's answers anyhow, it may have asked c for the way just before the cut.
  for (let again = 0; again < 3 && mode("a", "b") === "relay"; again += 1) {
    await lab.filter([]);
    await cut();
  }
  expect(mode("a", "b")).toBe("direct");
  await lab.filter([]);
  await lab.until("containers reach each other", async () => (await pings(container("a"), "10.2.2.5")) === 2);
  await lab.until("b answers", () => up("a", "b") && up("b", "a"));
}, 120_000);

test("a restarted agent goes on through the relay that it knew, and loses no packet for it", async () => {
  await lab.filter(['iifname "to-a" oifname "to-b" drop', 'iifname "to-b" oifname "to-a" drop']);
  await lab.until("a and b use a relay", () => mode("a", "b") === "relay" && mode("b", "a") === "relay");
  await lab.until("containers reach each other", async () => (await pings(container("a"), "10.2.2.5")) === 2);
  // It is killed: what was measured a moment ago may not have reached the disk.
  await lab.until("a has written it down", () => lab.hasNotedRelay("a", "b"));
  await lab.stop("a");
  const lost = lostPings(container("a"), "10.2.2.5", { count: 40, gapSec: 0.1 });
  lab.start("a");
  if ((await lost).length > 0) console.error(lab.story());
  expect(await lost).toEqual([]);
  await lab.until("a knows its links", () => up("a", "c"));
  expect(mode("a", "b")).toBe("relay");
  await lab.filter([]);
  await lab.until("they are direct again", () => mode("a", "b") === "direct" && mode("b", "a") === "direct");
}, 120_000);
