import { LoadClient } from "./load-client.ts";
import type { LoadResult } from "./load-client.ts";
import { SERVICE, demand } from "./tour-world.ts";
import type { RunningInstance, TourWorld } from "./tour-world.ts";

/** Two clients at once are seen in the figures, yet leave the machine to the cluster. */
const LOAD_RATE_PER_S = 25;

/** Runs `work` while clients call through HAProxy; they are ended in any case, and none of their requests may fail. */
export async function underLoad(world: TourWorld, work: () => Promise<void>): Promise<LoadResult> {
  const clients = await startLoad(world);
  try {
    await work();
  } catch (error) {
    await Promise.all(clients.map((client) => client.stop()));
    throw error;
  }
  return demandNoFailure(clients);
}

async function startLoad(world: TourWorld): Promise<readonly LoadClient[]> {
  const { lab } = world;
  const [first = "", ...others] = lab.hosts;
  const last = others.at(-1) ?? first;
  // One asks the HAProxy of its own host, one that of another host across the router.
  const pairs = [
    [first, first],
    [first, last],
  ] as const;
  const clients = pairs.map(([from, to]) => {
    const url = `http://${lab.node(to).address}/`;
    return new LoadClient(lab.name, from, { url, hostHeader: `${SERVICE}.example.com`, ratePerS: LOAD_RATE_PER_S });
  });
  await Promise.all(clients.map((client) => client.start()));
  return clients;
}

/** Ends the clients and demands that none of their requests failed. */
async function demandNoFailure(clients: readonly LoadClient[]): Promise<LoadResult> {
  const results = await Promise.all(clients.map((client) => client.stop()));
  const total: LoadResult = {
    requests: results.reduce((sum, result) => sum + result.requests, 0),
    failures: results.flatMap((result) => result.failures),
    slowestMs: Math.max(...results.map((result) => result.slowestMs)),
    bodies: results.flatMap((result) => result.bodies),
  };
  demand(total.requests > LOAD_RATE_PER_S, () => `only ${total.requests} requests were made`);
  demand(
    total.failures.length === 0,
    () => `${total.failures.length} of ${total.requests} requests failed, first: ${total.failures[0]}`,
  );
  return total;
}

/** Waits until DNS on every host has these instances, and every HAProxy leads to each of them. */
export async function awaitFollowed(world: TourWorld, instances: readonly RunningInstance[]): Promise<void> {
  await world.dnsFollows(
    `${SERVICE}.service.consul`,
    instances.map((instance) => instance.address),
  );
  await world.onEveryHost((host) =>
    world.wait(`HAProxy of ${host} to lead to ${instances.length} instances`, 15_000, async () => {
      const hellos = await world.answeredBy(host, instances.length * 3);
      return new Set(hellos.map((hello) => hello.instance)).size === instances.length;
    }),
  );
}
