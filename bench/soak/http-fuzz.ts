/** Requests of all shapes, most of them wrong, against a real process: each gets an answer, and the process stays as it was. */
import { ROUTES } from "../../src/api/consul/routes.ts";
import { SeededRandom } from "../../src/sim/seeded-random.ts";
import { type DiscoveryProcess, freePorts, withDirectory, withNodes } from "../../test/discovery/node.fixture.ts";
import { residentBytes } from "./idle-queries.ts";

const DEFAULT_COUNT = 1_000_000;
const AT_ONCE = 64;
const GROWTH_BYTES_MAX = 200 * 1024 * 1024;
/** Of all requests, so many have one of their route's own methods: nearly all of the others end at the table of routes, with 405. */
const OWN_METHOD_CHANCE = 0.85;
const QUERY_CHANCE = 0.5;
/** Those that end the process, or need a whole snapshot. */
const LEFT_OUT = /^(agent\/leave|snapshot)/;

const PIECES: readonly string[] = [
  '{ } [ ] : , " null true -1 1e999 18446744073709551616 0.1 \\u0000 \u0000 é "Name" "ID" "Check" "Checks" "Interval" "TTL" "10s"',
  '"HTTP" "Node" "Address" "KV" "Verb" "__proto__" "constructor" "web" "Definition" "Args" "Tags" "Meta" "Port" "Service" "Script"',
].flatMap((line) => line.split(" "));
const WORDS: readonly string[] = [
  "",
  "web",
  "s1",
  "a/b",
  "%00",
  "%E0%A4",
  "..%2f..",
  "x".repeat(5000),
  "serfHealth",
  "__proto__",
];
const QUERIES: readonly string[] = [
  "index=x",
  "index=1&wait=1ms",
  "filter=((",
  "recurse",
  "keys&separator=/",
  "cas=0",
  "dc=no",
  "pretty",
  "near=_agent",
  "flags=-1",
  "wait=99999999h",
];
/** Bodies that are right somewhere, before something happens to them. */
const SAMPLES: readonly string[] = [
  {
    Name: "web",
    ID: "w1",
    Port: 80,
    Tags: ["a"],
    Meta: { a: "b" },
    Check: { HTTP: "http://127.0.0.1:1/", Interval: "10s" },
  },
  { Name: "mem", ServiceID: "w1", TTL: "30s", Status: "passing", Notes: "n", DeregisterCriticalServiceAfter: "90m" },
  {
    Node: "ext",
    Address: "192.0.2.9",
    Service: { Service: "db", Port: 5432 },
    Check: { Name: "up", Status: "passing" },
  },
  { Node: "ext", ServiceID: "db" },
  { Name: "lock", TTL: "10s", Behavior: "delete", LockDelay: "1s", Checks: [] },
  { Name: "q", Service: { Service: "web", Failover: { NearestN: 1 }, OnlyPassing: true }, DNS: { TTL: "5s" } },
  [
    { KV: { Verb: "set", Key: "k", Value: "eA==", Flags: 1 } },
    { Check: { Verb: "get", Check: { Node: "s1", CheckID: "c" } } },
  ],
  { Status: "warning", Output: "so so" },
  { Name: "p", Description: "d", Rules: 'key_prefix "" { policy = "read" }', Datacenters: ["dc1"] },
].map((sample) => JSON.stringify(sample));
const METHODS: readonly string[] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"];

/** Arguments: how many requests, and the seed. @throws Error for an answer that is none, or a process that grows or ends. */
export async function soakHttpFuzz([count = String(DEFAULT_COUNT), seed = "1"]: readonly string[]): Promise<string> {
  const random = new SeededRandom(Number(seed));
  const statuses = new Map<number, number>();
  let read = 0;
  let grownBytes = 0;
  await withDirectory((directory) =>
    withNodes(async (begin) => {
      const flags = ["--server", "--bootstrap"];
      const node = begin({ name: "s1", address: "127.0.0.1", ports: await freePorts(), directory, flags });
      await node.ready();
      await node.put("kv/canary", "alive");
      const before = residentBytes(node);
      let left = Number(count);
      const worker = async (): Promise<void> => {
        while (left > 0) {
          left -= 1;
          const answer = await askOnce(node, random);
          statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
          if (answer.isRead) read += 1;
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
      grownBytes = residentBytes(node) - before;
      if (node.exitCode !== null) throw new Error(`The process ended (seed ${seed}): ${node.said.slice(-2000)}`);
      if (grownBytes > GROWTH_BYTES_MAX) throw new Error(`The process grew by ${grownBytes} bytes (seed ${seed})`);
      const broken = node.lines.filter(({ msg }) => msg === "request failed");
      if (broken.length > 0)
        throw new Error(`${broken.length} requests failed inside (seed ${seed}): ${JSON.stringify(broken[0])}`);
    }),
  );
  if (read * 2 <= Number(count))
    throw new Error(`Only ${read} of ${count} requests were read by their route (seed ${seed})`);
  const shown = [...statuses].toSorted(([a], [b]) => a - b).map(([status, times]) => `${status}: ${times}`);
  return `${count} requests, seed ${seed}, ${read} were read by their route: ${shown.join(", ")}; memory ${Math.round(grownBytes / 1024 / 1024)} MiB more`;
}

interface FuzzAnswer {
  readonly status: number;
  /** The route read what it was sent. */
  readonly isRead: boolean;
}

async function askOnce(node: DiscoveryProcess, random: SeededRandom): Promise<FuzzAnswer> {
  const pick = (list: readonly string[]): string => list[random.integer(0, list.length - 1)] ?? "";
  const route = pick(ROUTE_NAMES);
  const query = random.chance(QUERY_CHANCE) ? pick(QUERIES) : "";
  const path = `${route}${route.endsWith("/") ? pick(WORDS) : ""}?${query}`;
  const method = pick(random.chance(OWN_METHOD_CHANCE) ? Object.keys(ROUTES[route] ?? {}) : METHODS);
  const body = method === "GET" || method === "HEAD" ? undefined : draw(random, pick);
  const { address, ports } = node.start;
  const init = { method, signal: AbortSignal.timeout(30_000), ...(body === undefined ? {} : { body }) };
  const answer = await fetch(`http://${address}:${ports.http}/v1/${path}`, init);
  const text = await answer.text();
  // Whatever is refused is refused with a reason.
  if (answer.status >= 400 && answer.status !== 404 && method !== "HEAD" && text.trim() === "")
    throw new Error(`${method} ${path}: ${answer.status} without a word`);
  const isRead = Object.hasOwn(ROUTES[route] ?? {}, method) && !UNREAD.test(text);
  return { status: answer.status, isRead };
}

/** What is said before a route reads what it was sent. ACLs are off here, which ends a fifth of the routes. */
const UNREAD = /^(No path to datacenter|Invalid index|Invalid URL path|invalid URL escape|ACL support disabled)/;

const ROUTE_NAMES = Object.keys(ROUTES).filter((route) => !LEFT_OUT.test(route));

/** Text that begins as JSON would and goes wrong somewhere, or does not. */
function draw(random: SeededRandom, pick: (list: readonly string[]) => string): string {
  const length = random.integer(0, 24);
  if (random.chance(0.5)) return damage(pick(SAMPLES), random, pick);
  if (random.chance(0.3)) {
    const fields = Array.from(
      { length: random.integer(0, 6) },
      () => `${pick(PIECES.filter((piece) => piece.startsWith('"')))}:${pick(PIECES)}`,
    );
    return `{${fields.join(",")}}`;
  }
  return `{${Array.from({ length }, () => pick(PIECES)).join("")}`;
}

/** Nothing, or up to three pieces put in place of what was there. */
function damage(sample: string, random: SeededRandom, pick: (list: readonly string[]) => string): string {
  let text = sample;
  for (let left = random.integer(0, 3); left > 0; left -= 1) {
    const at = random.integer(0, text.length);
    text = text.slice(0, at) + pick(PIECES) + text.slice(at + random.integer(0, 8));
  }
  return text;
}
