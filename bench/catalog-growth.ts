/**
 * What endpoints cost the server's catalog as they grow in number: memory and the time of a registration, in a process of its own
 * that holds nothing else, in steps from none to the largest size. `measureGrowth` starts that process.
 */
import { register } from "../src/discovery/registry/catalog-operations.ts";
import { RegisteredEndpoints } from "../src/discovery/registry/registered-endpoints.ts";
import { openRegistry } from "../src/discovery/registry/registry-parts.ts";
import { Catalog } from "../src/discovery/catalog.ts";
import { formatIpv4 } from "../src/model/ip.ts";
import { nodeDigest } from "../src/platform/digest/node-digest.ts";
import { systemClock } from "../src/platform/clock/system-clock.ts";
import { systemRandom } from "../src/platform/clock/system-random.ts";
import { SqliteStore } from "../src/platform/sqlite/sqlite-store.ts";

export const GROWTH_SIZES = [10_000, 25_000, 50_000, 100_000] as const;
const PER_SERVICE = 10;
const PER_NODE = 20;
/** Registrations under way at once, as from as many clients. */
const WIDTH = 500;

export interface GrowthPoint {
  readonly endpoints: number;
  readonly residentMiB: number;
  readonly heapMiB: number;
  /** Of one registration in the step that led here, the durable write included. */
  readonly registerUs: number;
}

/** The points of the curve, the first of them without any endpoint. */
export async function measureGrowth(directory: string, largest: number): Promise<readonly GrowthPoint[]> {
  const child = Bun.spawn([process.execPath, import.meta.path, directory, String(largest)], { stderr: "inherit" });
  const [text, code] = await Promise.all([new Response(child.stdout).text(), child.exited]);
  if (code !== 0) throw new Error(`The growth of the catalog was not measured: exit code ${code}`);
  return JSON.parse(text) as readonly GrowthPoint[];
}

async function grow(directory: string, largest: number): Promise<readonly GrowthPoint[]> {
  const store = SqliteStore.open(`${directory}/growth.db`);
  const deps = { store, clock: systemClock, random: systemRandom, digest: nodeDigest };
  const parts = await openRegistry(deps);
  const catalog = new Catalog();
  new RegisteredEndpoints(parts.registry, {
    change: (change) => catalog.applyRegistered(change),
    judge: (what, name, said) => catalog.judge(what, name, said),
  });
  const points = [point(0, 0)];
  let made = 0;
  for (const size of GROWTH_SIZES.filter((each) => each <= largest)) {
    const [from, startMs] = [made, performance.now()];
    const worker = async (): Promise<void> => {
      while (made < size) {
        const registration = registrationOf(made++);
        await parts.registry.write((tx) => register(tx, parts.registry.view, registration));
      }
    };
    await Promise.all(Array.from({ length: WIDTH }, worker));
    points.push(point(catalog.list().length, ((performance.now() - startMs) / (size - from)) * 1000));
  }
  parts.close();
  await store.close();
  return points;
}

function registrationOf(index: number): Parameters<typeof register>[2] {
  const address = formatIpv4(0x0a000000 + index);
  const id = `box-${index}`;
  const none = {
    kind: "",
    socketPath: "",
    taggedAddresses: {},
    proxy: {},
    connect: {},
    enableTagOverride: false,
  } as const;
  return {
    node: { id: "", node: `n${Math.floor(index / PER_NODE)}`, address: "192.0.2.1", taggedAddresses: {}, meta: {} },
    skipNodeUpdate: false,
    service: {
      ...none,
      id,
      name: `service-${Math.floor(index / PER_SERVICE)}`,
      tags: ["v1"],
      address,
      port: 8080,
      meta: { rack: `r${index % 10}` },
      weights: { passing: 1, warning: 1 },
    },
    checks: [],
  };
}

function point(endpoints: number, registerUs: number): GrowthPoint {
  Bun.gc(true);
  const { rss, heapUsed } = process.memoryUsage();
  return { endpoints, residentMiB: rss / 2 ** 20, heapMiB: heapUsed / 2 ** 20, registerUs };
}

const [directory, largest] = process.argv.slice(2);
if (import.meta.main && directory !== undefined) console.log(JSON.stringify(await grow(directory, Number(largest))));
