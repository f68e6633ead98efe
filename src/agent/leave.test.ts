import { expect, test } from "bun:test";
import { AppError, describeError } from "../model/error.ts";
import type { HostId } from "../model/ids.ts";
import { parseHostAddress } from "../model/ip6.ts";
import { parseIpv4 } from "../model/ip.ts";
import { planHost } from "../network/plan-host.ts";
import { assignmentOf } from "../sim/agent-fixtures.ts";
import { FAKE_IMAGE, FakeEngine } from "../sim/fake-engine.ts";
import { FakeHostNetwork } from "../sim/fake-host-network.ts";
import { FakeSegments } from "../sim/fake-segments.ts";
import { FakeFastPath } from "../sim/fake-fast-path.ts";
import { FakeProxy } from "../sim/fake-proxy.ts";
import { FakeWiring } from "../sim/fake-wiring.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { instanceContainer } from "./instance-container.ts";
import { leaveCluster } from "./leave.ts";
import { applyHostAction, observeHost } from "./network-subject.ts";

const RANGE = "10.2.0.0/16";
const GATEWAY = parseIpv4("10.2.1.1");
const MEMBERSHIP = { hostId: "h1", name: "alpha", credential: "secret", caPem: "PEM", serverUrls: ["https://s:8443"] };
const PEERS = [
  { id: "h2" as HostId, name: "beta", address: parseIpv4("192.0.2.12"), blocks: ["10.2.2.0/24"], up: true },
  { id: "h3" as HostId, name: "gamma", address: parseIpv4("198.51.100.3"), blocks: ["10.2.3.0/24"], up: true },
];

/** A host as the agent leaves it: network to a near and a far peer, one instance, and maybe somebody's container. */
class Host {
  readonly clock = new VirtualClock();
  readonly engine = new FakeEngine({ clock: this.clock, images: { "web:1": FAKE_IMAGE } });
  readonly network = new FakeHostNetwork({
    uplinks: [{ name: "eth0", address: parseIpv4("192.0.2.11"), prefix: 24, router: parseIpv4("192.0.2.1") }],
    clock: this.clock,
  });
  readonly wiring = new FakeWiring(this.clock);
  readonly proxy = new FakeProxy({ clock: this.clock });
  readonly fastPath = new FakeFastPath();
  readonly segments = new FakeSegments(this.clock);
  readonly said: string[] = [];
  readonly posted: string[] = [];
  answer: AppError | null = null;
  forgotten = 0;
  readonly bare = String(this.network);

  async setUp(): Promise<void> {
    const known = { range: RANGE, blocks: ["10.2.1.0/24"], peers: PEERS, rules: [] };
    for (let pass = 0; pass < 3; pass += 1) {
      const { actions } = planHost(known, await observeHost(known, this.network, this.engine));
      for (const action of actions) await applyHostAction(action, this.network, this.engine);
    }
    const placement = { hostName: "alpha", network: "apollo", gateway: GATEWAY, dnsDomain: "consul" };
    const spec = instanceContainer(assignmentOf("1"), { ...placement, address: parseIpv4("10.2.1.5") });
    await this.engine.startContainer(await this.engine.createContainer(spec));
  }

  async startForeign(): Promise<void> {
    const placement = { hostName: "alpha", network: "apollo", gateway: GATEWAY, dnsDomain: "consul" };
    const spec = instanceContainer(assignmentOf("2"), { ...placement, address: parseIpv4("10.2.1.6") });
    await this.engine.startContainer(await this.engine.createContainer({ ...spec, name: "by-hand", labels: {} }));
  }

  leave(containers: boolean): Promise<string> {
    const work = leaveCluster(
      { membership: MEMBERSHIP, range: RANGE, range6: "fd12:3456:789a::/64", containers },
      {
        engine: this.engine,
        network: this.network,
        wiring: this.wiring,
        proxy: this.proxy,
        fastPath: this.fastPath,
        segments: this.segments,
        answerEngine: () => Promise.resolve(() => Promise.resolve()),
        resolver: { restore: () => Promise.resolve(null) },
        server: {
          post: ({ path, bearer }) => {
            this.posted.push(`${path} ${bearer}`);
            return this.answer === null ? Promise.resolve({}) : Promise.reject(this.answer);
          },
        },
        forget: () => {
          this.forgotten += 1;
          return Promise.resolve();
        },
        say: (line) => void this.said.push(line),
      },
    );
    return this.clock.settle(work.then(() => "left", describeError));
  }
}

async function hostUp(): Promise<Host> {
  const host = new Host();
  await host.clock.settle(host.setUp());
  expect(String(host.network)).toContain("apollo-vx0");
  return host;
}

test("leaveCluster() takes everything away, tells the server first and forgets last", async () => {
  const host = await hostUp();
  for (const address of ["10.2.1.9", "fd12:3456:789a:0:a02:100:a02:109", "fd99::1"])
    await host.clock.settle(host.wiring.expose(parseHostAddress(address)));
  expect(await host.leave(true)).toBe("left");
  // Somebody else's own.
  expect(String(host.wiring)).toBe("exposed fd99::1");
  expect(host.posted).toEqual(["/api/leave secret"]);
  expect(host.said[0]).toBe("The server knows");
  expect(await host.clock.settle(host.engine.listContainers())).toEqual([]);
  expect(await host.clock.settle(host.engine.listNetworks())).toEqual([]);
  // But for the sysctls, which stay.
  const left = String(host.network).replaceAll(/^.*ip_forward.*$/gm, "");
  expect(left).toBe(host.bare.replaceAll(/^.*ip_forward.*$/gm, ""));
  expect(host.forgotten).toBe(1);
  // Repeatable: what is gone already is fine.
  expect(await host.leave(false)).toBe("left");
});

test("leaveCluster() refuses before it changes anything", async () => {
  const host = await hostUp();
  const before = String(host.network);
  expect(await host.leave(false)).toContain("an instance runs on this host");
  await host.clock.settle(host.startForeign());
  expect(await host.leave(true)).toContain("by-hand use its network");
  host.engine.goDown();
  expect(await host.leave(true)).not.toBe("left");
  expect([host.posted, host.said, host.forgotten, String(host.network)]).toEqual([[], [], 0, before]);
});

test("leaveCluster() goes on without a server, and says what is left to do there", async () => {
  const away = await hostUp();
  away.answer = new AppError("unavailable", "Cannot reach server https://s:8443");
  expect(await away.leave(true)).toBe("left");
  expect(away.said[0]).toBe(
    "Warning: Cannot reach server https://s:8443; when it is back, on a client: apollo host remove alpha",
  );
  const removed = await hostUp();
  removed.answer = new AppError("denied", "Invalid username or password.");
  expect(await removed.leave(true)).toBe("left");
  expect(removed.said[0]).toBe("The server had forgotten this host already");
});
