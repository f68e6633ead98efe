import { afterAll, beforeAll, expect, test } from "bun:test";
import { parseNetworkObject } from "../../src/model/network-config.ts";
import type { Publication, VirtualService } from "../../src/model/network-config.ts";
import { waitFor } from "./network-lab.ts";
import { CLIENT, CONTAINERS, OutsideLab, VIP } from "./outside-lab.ts";
import { served } from "./outside.fixture.ts";

const lab = new OutsideLab("outside", null);

function virtual(more: Partial<VirtualService> = {}): VirtualService {
  return parseNetworkObject("virtual", { name: "web", address: VIP, ...more });
}

function publication(more: Partial<Publication> = {}): Publication {
  return parseNetworkObject("publication", { name: "web", service: "web", port: 80, ...more });
}

beforeAll(() => lab.open(), 60_000);

afterAll(async () => {
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
}, 60_000);

test("a virtual address leads containers and hosts to endpoints on every host, and keeps the client's address", async () => {
  await lab.declare([lab.web("a6"), lab.web("b5")], { virtuals: [virtual()] });
  for (const [from, client] of [
    ["a5", CONTAINERS.a5],
    ["a", "10.2.1.1"],
    ["b", "10.2.2.1"],
  ] as const) {
    expect(await lab.servers(from, { address: VIP, port: 8080 }, 12)).toEqual(new Set([CONTAINERS.a6, CONTAINERS.b5]));
    expect((await lab.ask(from, VIP, 8080))?.client).toBe(client);
  }
}, 60_000);

test("an endpoint that leaves gets no more connections once the host says that it serves so", async () => {
  await lab.declare([lab.web("a6"), lab.web("b5")], { virtuals: [virtual()] });
  await lab.declare([lab.web("a6", { health: "critical" }), lab.web("b5")], { virtuals: [virtual()] });
  expect(await lab.servers("a5", { address: VIP, port: 8080 }, 10)).toEqual(new Set([CONTAINERS.b5]));
}, 60_000);

test("without an endpoint, and on a port that it has not, a virtual address refuses at once", async () => {
  await lab.declare([], { virtuals: [virtual()] });
  expect(await Promise.all(["a5", "a"].map((from) => lab.refusal(from, VIP, 8080)))).toEqual([
    "Connection refused",
    "Connection refused",
  ]);
  await lab.declare([lab.web("a6")], { virtuals: [virtual()] });
  expect(await Promise.all(["a5", "a"].map((from) => lab.refusal(from, VIP, 8081)))).toEqual([
    "Connection refused",
    "Connection refused",
  ]);
  expect(await lab.ask("a", VIP, 8080)).not.toBeNull();
}, 60_000);

test("a container reaches itself and its neighbour by a virtual address; br_netfilter that was switched off is on again", async () => {
  const key = "net.bridge.bridge-nf-call-iptables";
  await lab.space("a").runner.run(["sysctl", "-qw", `${key}=0`]);
  // No event tells of the switch: what wakes the parts does.
  await lab.declare([], { virtuals: [virtual()] });
  await waitFor("the switch to be on", async () => {
    return (await lab.space("a").runner.run(["sysctl", "-n", key])).stdout.trim() === "1";
  });
  await lab.declare([lab.web("a6")], { virtuals: [virtual()] });
  await waitFor("the way back to the same port", async () => (await lab.ask("a6", VIP, 8080)) !== null);
  expect(await lab.ask("a6", VIP, 8080)).toEqual({ client: "10.2.1.1", server: CONTAINERS.a6 });
  expect(await lab.ask("a5", VIP, 8080)).toEqual({ client: CONTAINERS.a5, server: CONTAINERS.a6 });
}, 60_000);

test("a UDP client that goes on asking is moved when its endpoint leaves, refused without one, and served again", async () => {
  const virtuals = [virtual({ name: "dns" })];
  await lab.declare([lab.dns("a6")], { virtuals });
  await waitFor("an endpoint", async () => (await lab.askUdp("a5", VIP, 5353)) === "a6");
  await lab.declare([lab.dns("b5")], { virtuals });
  await waitFor("the other endpoint", async () => (await lab.askUdp("a5", VIP, 5353)) === "b5");
  await lab.declare([], { virtuals });
  await waitFor("nobody", async () => (await lab.askUdp("a5", VIP, 5353)) === "");
  await lab.declare([lab.dns("a6")], { virtuals });
  await waitFor("the first endpoint", async () => (await lab.askUdp("a5", VIP, 5353)) === "a6");
}, 60_000);

test("a published port keeps the client's address on a host with an endpoint, and works on one without", async () => {
  await lab.declare([lab.web("a6")], { publications: [publication()] });
  expect(await lab.ask("client", "192.0.2.1", 80)).toEqual({ client: CLIENT, server: CONTAINERS.a6 });
  expect(await lab.ask("client", "192.0.2.2", 80)).toEqual({ client: "10.2.2.1", server: CONTAINERS.a6 });
  // From the host itself, and from a container by its host's own address.
  expect((await lab.ask("a", "192.0.2.1", 80))?.server).toBe(CONTAINERS.a6);
  expect((await lab.ask("b", "192.0.2.2", 80))?.server).toBe(CONTAINERS.a6);
  expect((await lab.ask("a5", "192.0.2.1", 80))?.client).toBe(CONTAINERS.a5);
  // An endpoint on the host itself is preferred: its answers go straight.
  await lab.declare([lab.web("a6"), lab.web("b5")], { publications: [publication()] });
  expect(await lab.servers("client", { address: "192.0.2.2", port: 80 }, 8)).toEqual(new Set([CONTAINERS.b5]));
  await lab.declare([lab.web("a6")], {});
  expect(await lab.ask("client", "192.0.2.1", 80)).toBeNull();
}, 60_000);

test("a published UDP port answers a client that asked before, and no more when it is unpublished", async () => {
  const publications = [publication({ name: "dns", service: "dns", protocol: "udp", port: 53 })];
  await lab.declare([lab.dns("a6")], {});
  expect(await lab.askUdp("client", "192.0.2.1", 53)).toBe("");
  await lab.declare([lab.dns("a6")], { publications });
  await waitFor("an answer", async () => (await lab.askUdp("client", "192.0.2.1", 53)) === "a6");
  await lab.declare([lab.dns("a6")], {});
  await waitFor("no answer", async () => (await lab.askUdp("client", "192.0.2.1", 53)) === "");
}, 60_000);

test("a port that a program of the host listens on stays its own, with a condition", async () => {
  await lab.serve(lab.space("a"), 2222, "printenv SOCAT_PEERADDR SOCAT_SOCKADDR");
  await lab.declare([lab.web("a6")], { publications: [publication({ port: 2222 })] });
  expect((await lab.ask("client", "192.0.2.1", 2222))?.server).toBe("192.0.2.1");
  expect((await lab.ask("client", "192.0.2.2", 2222))?.server).toBe(CONTAINERS.a6);
  const codes = (name: string): readonly string[] =>
    (lab.hosts.states.get(name)?.conditions() ?? []).map(({ code }) => code);
  expect([codes("a"), codes("b")].map((each) => each.includes("publication-port-taken"))).toEqual([true, false]);
}, 60_000);

test("binding to another service moves new connections at once and leaves old ones where they are", async () => {
  const old = served("old", lab.at("a6", 9000));
  const fresh = served("fresh", lab.at("b5", 8080));
  const bind = (service: string) => ({
    virtuals: [virtual({ service, port: 7000 })],
    publications: [publication({ service, port: 7001 })],
  });
  await lab.declare([old, fresh], bind("old"));
  await lab.serve(lab.space("a6"), 9000, "stdbuf -oL ping -c 100 -i 0.2 127.0.0.1");
  const end = new AbortController();
  const counts = { virtual: 0, published: 0 };
  const follow = (from: string, address: string, port: number, what: keyof typeof counts): Promise<unknown> =>
    lab
      .space(from)
      .runner.follow(["socat", "-u", `TCP:${address}:${port}`, "STDOUT"], () => (counts[what] += 1), end.signal);
  const following = [follow("a5", VIP, 7000, "virtual"), follow("client", "192.0.2.2", 7001, "published")];
  await waitFor("lines of the old service", () => Promise.resolve(counts.virtual > 1 && counts.published > 1));
  await lab.declare([old, fresh], bind("fresh"));
  const before = { ...counts };
  expect((await lab.ask("a5", VIP, 7000))?.server).toBe(CONTAINERS.b5);
  expect((await lab.ask("client", "192.0.2.2", 7001))?.server).toBe(CONTAINERS.b5);
  await waitFor("more lines on the old connections", () =>
    Promise.resolve(counts.virtual > before.virtual + 2 && counts.published > before.published + 2),
  );
  end.abort();
  await Promise.all(following);
}, 60_000);

test("weights share connections, and affinity keeps a client with one endpoint", async () => {
  const heavy = lab.web("a6", { meta: { weight: "99" } });
  await lab.declare([heavy, lab.web("b5")], { virtuals: [virtual()] });
  const answers = new Map<string, number>();
  for (let turn = 0; turn < 20; turn++) {
    const server = (await lab.ask("a5", VIP, 8080))?.server ?? "nobody";
    answers.set(server, (answers.get(server) ?? 0) + 1);
  }
  expect(answers.get(CONTAINERS.a6) ?? 0).toBeGreaterThan(15);
  await lab.declare([lab.web("a6"), lab.web("b5")], { virtuals: [virtual({ affinity: "source" })] });
  expect((await lab.servers("a5", { address: VIP, port: 8080 }, 10)).size).toBe(1);
}, 60_000);
