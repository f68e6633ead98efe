import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { parseNetworkObject } from "../../src/model/network-config.ts";
import { address6Of, virtual6Of } from "../../src/network/address6.ts";
import { waitFor } from "./network-lab.ts";
import { CLIENT6, HOST6, OutsideLab, VIP } from "./outside-lab.ts";

// As outside.netns.test.ts, by IPv6.
const RANGE6 = "fd12:3456:789a::/64";
const VIP6 = address6Of(virtual6Of(RANGE6, "10.3.0.0/16"), VIP);
const lab = new OutsideLab("out6", RANGE6);
const virtuals = [parseNetworkObject("virtual", { name: "web", address: VIP })];

// A busy machine makes each step slow; what counts is what happens.
setDefaultTimeout(120_000);

beforeAll(() => lab.open());

afterAll(async () => {
  await lab.close();
  expect(await lab.leftovers()).toEqual([]);
});

test("a virtual address has an IPv6 twin: containers and hosts reach healthy endpoints everywhere, seen as themselves", async () => {
  await lab.declare([lab.web("a6"), lab.web("b5")], { virtuals });
  for (const [from, client] of [
    ["a5", lab.address6("a5")],
    ["a", lab.gateway6("a")],
    ["b", lab.gateway6("b")],
  ] as const) {
    expect(await lab.servers(from, { address: VIP6, port: 8080 }, 12)).toEqual(
      new Set([lab.address6("a6"), lab.address6("b5")]),
    );
    expect((await lab.ask(from, VIP6, 8080))?.client).toBe(client);
  }
  await lab.declare([lab.web("a6", { health: "critical" }), lab.web("b5")], { virtuals });
  expect(await lab.servers("a5", { address: VIP6, port: 8080 }, 8)).toEqual(new Set([lab.address6("b5")]));
});

test("a container reaches itself and its neighbour by the twin", async () => {
  await lab.declare([lab.web("a6")], { virtuals });
  await waitFor("the way back to the same port", async () => (await lab.ask("a6", VIP6, 8080)) !== null);
  expect(await lab.ask("a6", VIP6, 8080)).toEqual({ client: lab.gateway6("a"), server: lab.address6("a6") });
  expect(await lab.ask("a5", VIP6, 8080)).toEqual({ client: lab.address6("a5"), server: lab.address6("a6") });
});

test("without an endpoint of that family the twin refuses at once, and IPv4 goes on", async () => {
  const { address6: _, ...four } = lab.web("a6");
  await lab.declare([four], { virtuals });
  expect(await Promise.all(["a5", "a"].map((from) => lab.refusal(from, VIP6, 8080)))).toEqual([
    "Connection refused",
    "Connection refused",
  ]);
  await lab.declare([], {});
  const route = await lab.space("a").runner.run(["ip", "-6", "route", "show", "dev", "apollo0"]);
  expect(route.stdout).not.toContain("a03::/96");
});

test("a published port answers by IPv6, keeps the client's address where the endpoint is, and works elsewhere", async () => {
  const publications = [parseNetworkObject("publication", { name: "web", service: "web", port: 80 })];
  await lab.declare([lab.web("a6")], { publications });
  expect(await lab.ask("client", HOST6.a, 80)).toEqual({ client: CLIENT6, server: lab.address6("a6") });
  expect(await lab.ask("client", HOST6.b, 80)).toEqual({ client: lab.gateway6("b"), server: lab.address6("a6") });
  // From the host itself, and from a container by its host's own address.
  expect((await lab.ask("a", HOST6.a, 80))?.server).toBe(lab.address6("a6"));
  expect((await lab.ask("b", HOST6.b, 80))?.server).toBe(lab.address6("a6"));
  expect((await lab.ask("a5", HOST6.a, 80))?.client).toBe(lab.address6("a5"));
  await lab.declare([lab.web("a6"), lab.web("b5")], { publications });
  expect(await lab.servers("client", { address: HOST6.b, port: 80 }, 6)).toEqual(new Set([lab.address6("b5")]));
  await lab.declare([lab.web("a6")], {});
  expect(await lab.ask("client", HOST6.a, 80)).toBeNull();
});

test("an imported IPv6 target is reached by virtual address and published port; it sees the host's own address", async () => {
  lab.start(lab.space("client"), [
    "socat",
    "TCP6-LISTEN:9100,reuseaddr,fork",
    "EXEC:printenv SOCAT_PEERADDR SOCAT_SOCKADDR",
  ]);
  await lab.listens(lab.space("client"), "-Hltn", 9100);
  const target = { ...lab.web("a6"), id: "a:import:web:x", address: CLIENT6, port: 9100 };
  const { address6: _, ...imported } = target;
  const publications = [parseNetworkObject("publication", { name: "web", service: "web", port: 80 })];
  await lab.declare([imported], { virtuals, publications });
  expect(await lab.ask("a5", VIP6, 9100)).toEqual({ client: HOST6.a, server: CLIENT6 });
  expect(await lab.ask("b5", HOST6.b, 80)).toEqual({ client: HOST6.b, server: CLIENT6 });
});

test("a UDP client that goes on asking by IPv6 is moved, and is answered by a published port", async () => {
  const named = [parseNetworkObject("virtual", { name: "dns", address: VIP })];
  const publications = [parseNetworkObject("publication", { name: "dns", service: "dns", protocol: "udp", port: 53 })];
  await lab.declare([lab.dns("a6")], { virtuals: named, publications });
  await waitFor("an endpoint", async () => (await lab.askUdp("a5", VIP6, 5353)) === "a6");
  await waitFor("the published port", async () => (await lab.askUdp("client", HOST6.a, 53)) === "a6");
  await lab.declare([lab.dns("b5")], { virtuals: named, publications });
  await waitFor("the other endpoint", async () => (await lab.askUdp("a5", VIP6, 5353)) === "b5");
  await waitFor("the other one by the port", async () => (await lab.askUdp("client", HOST6.a, 53)) === "b5");
  await lab.declare([], {});
  await waitFor("nobody", async () => (await lab.askUdp("client", HOST6.a, 53)) === "");
});
