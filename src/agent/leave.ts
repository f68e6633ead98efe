/**
 * How a host leaves its cluster: everything that the agent ever made on this machine is taken away, the membership last, so
 * that a leave which fails half-way can be repeated. Refusals come before the first change.
 */
import type { Container } from "../model/container.ts";
import { AppError } from "../model/error.ts";
import { cidr6Contains, parseCidr6 } from "../model/ip6.ts";
import { ENGINE_NETWORK, OPTION_BRIDGE } from "../network/plan-engine-network.ts";
import { planLeave } from "../network/plan-leave.ts";
import { BRIDGE, NETWORK_SYSCTLS, TUNNEL } from "../network/plan-network.ts";
import { WIREGUARD } from "../network/wireguard/plan-wireguard.ts";
import type { SegmentNetwork } from "../platform/ports/segment-network.ts";
import { isMade } from "../network/plan-declared-engine.ts";
import { PLUGIN_DRIVER } from "../network/parse-plugin-call.ts";
import type { Engine, EngineNetwork } from "../platform/ports/engine.ts";
import type { FastPath } from "../platform/ports/fast-path.ts";
import type { HostNetwork } from "../platform/ports/host-network.ts";
import type { JoinClient } from "../platform/ports/join-client.ts";
import type { Proxy } from "../platform/ports/proxy.ts";
import type { Wiring } from "../platform/ports/wiring.ts";
import { instanceOf } from "./instance-container.ts";
import type { Membership } from "./join.ts";
import type { HostResolver } from "./resolver-file.ts";

export interface LeaveWorld {
  readonly engine: Pick<
    Engine,
    "listContainers" | "listNetworks" | "stopContainer" | "removeContainer" | "removeNetwork"
  >;
  readonly network: Pick<HostNetwork, "observe" | "apply">;
  readonly wiring: Pick<Wiring, "observe" | "disconnect" | "hide">;
  readonly proxy: Pick<Proxy, "stop">;
  readonly fastPath: Pick<FastPath, "remove">;
  readonly segments: Pick<SegmentNetwork, "apply">;
  /** Serves the engine's plugin for as long as networks of its driver are removed; resolves with how to end that. */
  readonly answerEngine: () => Promise<() => Promise<void>>;
  readonly resolver: Pick<HostResolver, "restore">;
  readonly server: Pick<JoinClient, "post">;
  /** Deletes what the agent keeps on disk, the membership last. */
  readonly forget: () => Promise<void>;
  /** One line for a person about what was done. */
  readonly say: (line: string) => void;
}

export interface LeaveWish {
  readonly membership: Membership;
  /** Container range as last known; null when nobody remembers it. */
  readonly range: string | null;
  /** The same for IPv6; null or missing when there is none, or nobody remembers it. */
  readonly range6?: string | null;
  /** Also stops instances that run; else they are a reason to refuse. */
  readonly containers: boolean;
}

const STOP_GRACE_MS = 10_000;

/** @throws AppError `conflict` while something uses what would be taken away, `unavailable` when the engine is down. */
export async function leaveCluster(wish: LeaveWish, world: LeaveWorld): Promise<void> {
  const { engine, network, say } = world;
  const [containers, networks] = await Promise.all([engine.listContainers(), engine.listNetworks()]);
  const own = containers.filter((container) => instanceOf(container) !== null);
  assertFree(wish, { containers, own, networks });
  await tellServer(wish.membership, world);
  const resolver = await world.resolver.restore();
  say(resolver === null ? "Resolver configuration restored" : `Warning: ${resolver.text} (${resolver.hint})`);
  await world.proxy.stop();
  say("HAProxy stopped");
  await Promise.all(own.map((container) => endContainer(container, engine)));
  say(`${own.length} ${own.length === 1 ? "container" : "containers"} removed`);
  const range6 = wish.range6 ?? null;
  const { wires, exposed, local6 } = await world.wiring.observe();
  for (const { device } of wires) await world.wiring.disconnect(device);
  const ours6 = local6.filter((address) => range6 !== null && cidr6Contains(parseCidr6(range6), address));
  for (const address of [...exposed, ...ours6]) await world.wiring.hide(address);
  await engine.removeNetwork(ENGINE_NETWORK);
  await removeDeclared(networks.filter(isMade), world);
  // Before the devices that its filters are on, and before what it must not outlive.
  await world.fastPath.remove();
  const range = wish.range ?? networks.find(({ name }) => name === ENGINE_NETWORK)?.subnet ?? null;
  const observed = await network.observe({
    sysctls: NETWORK_SYSCTLS,
    range: range ?? "0.0.0.0/0",
    range6,
    tunnelDevice: TUNNEL,
    wireguardDevice: WIREGUARD,
  });
  // One after the other: a route over a device must be gone before, and rules need no race.
  for (const action of planLeave({ range, range6 }, observed)) await network.apply(action);
  await world.segments.apply({ kind: "forbid-bridges" });
  say("Network, routes and rules removed");
  await world.forget();
  say(`This machine is no longer host "${wish.membership.name}"`);
}

interface Found {
  readonly containers: readonly Container[];
  /** Those that are instances of ours. */
  readonly own: readonly Container[];
  readonly networks: readonly EngineNetwork[];
}

function assertFree({ containers: stop }: LeaveWish, { containers, own, networks }: Found): void {
  const running = own.filter((container) => container.state !== "exited" && container.state !== "dead");
  if (running.length > 0 && !stop) {
    const what = running.length === 1 ? "an instance runs" : `${running.length} instances run`;
    throw new AppError("conflict", `Cannot leave the cluster: ${what} on this host`, {
      hint: 'Run "apollo agent leave --containers": they are stopped here and replaced on other hosts',
    });
  }
  if (networks.some(({ name, options }) => name === "bridge" && options[OPTION_BRIDGE] === BRIDGE)) {
    throw new AppError("conflict", `Cannot leave the cluster: the engine's default network is on ${BRIDGE}`, {
      hint: 'Take "bridge" and "fixed-cidr" out of /etc/docker/daemon.json and restart Docker',
    });
  }
  const plugged = networks.find((each) => each.driver === PLUGIN_DRIVER && !isMade(each));
  if (plugged !== undefined) {
    throw new AppError("conflict", `Cannot leave the cluster: the engine's network "${plugged.name}" is Apollo's`, {
      hint: `Remove it while the agent runs: docker network rm ${plugged.name}`,
    });
  }
  const ids = new Set(own.map((container) => container.id));
  const busy = networks.find((each) => isMade(each) && Object.keys(each.containers).some((id) => !ids.has(id)));
  if (busy !== undefined) {
    throw new AppError("conflict", `Cannot leave the cluster: containers use its network "${busy.name}"`, {
      hint: `They are not Apollo's to stop: docker ps --filter network=${busy.name}`,
    });
  }
  const attached = Object.keys(networks.find(({ name }) => name === ENGINE_NETWORK)?.containers ?? {});
  const others = attached.filter((id) => !ids.has(id));
  if (others.length === 0) return;
  const names = others.map((id) => containers.find((container) => container.id === id)?.name ?? id.slice(0, 12));
  throw new AppError("conflict", `Cannot leave the cluster: ${names.toSorted().join(", ")} use its network`, {
    hint: `They are not Apollo's to stop: docker network disconnect ${ENGINE_NETWORK} ${names[0] ?? ""}`,
  });
}

/** The engine asks our plugin before it lets go of a network, and the agent that serves it has ended. */
async function removeDeclared(networks: readonly EngineNetwork[], { engine, answerEngine }: LeaveWorld): Promise<void> {
  if (networks.length === 0) return;
  const end = await answerEngine();
  try {
    for (const { name } of networks) await engine.removeNetwork(name);
  } finally {
    await end();
  }
}

/** First: from then on nobody is led here, and replacements start while this host takes itself apart. */
async function tellServer(membership: Membership, { server, say }: LeaveWorld): Promise<void> {
  const { serverUrls, credential, caPem, name } = membership;
  const later = `on a client: apollo host remove ${name}`;
  for (const url of serverUrls) {
    try {
      await server.post({ url, path: "/api/leave", bearer: credential, caPem, body: {} });
      say("The server knows");
      return;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code === "denied" || error.code === "not-found") {
        say("The server had forgotten this host already");
        return;
      }
      say(`Warning: ${error.message}; when it is back, ${later}`);
    }
  }
}

async function endContainer({ id }: Container, engine: LeaveWorld["engine"]): Promise<void> {
  await engine.stopContainer(id, STOP_GRACE_MS);
  await engine.removeContainer(id);
}
