/** Requests of all shapes, most of them wrong, against a real process: each gets an answer, and the process stays as it was. */
import { ROUTES } from "../../src/api/consul/routes.ts";
import { SeededRandom } from "../../src/sim/seeded-random.ts";
import { type DiscoveryProcess, freePorts, withDirectory, withNodes } from "../../test/discovery/node.fixture.ts";
import { residentBytes } from "./idle-queries.ts";

const DEFAULT_COUNT = 1_000_000;
const AT_ONCE = 64;
const GROWTH_BYTES_MAX = 200 * 1024 * 1024;
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
const METHODS: readonly string[] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"];

/** Arguments: how many requests, and the seed. @throws Error for an answer that is none, or a process that grows or ends. */
export async function soakHttpFuzz([count = String(DEFAULT_COUNT), seed = "1"]: readonly string[]): Promise<string> {
  const random = new SeededRandom(Number(seed));
  const statuses = new Map<number, number>();
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
          const status = await askOnce(node, random);
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
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
  const shown = [...statuses].toSorted(([a], [b]) => a - b).map(([status, times]) => `${status}: ${times}`);
  return `${count} requests, seed ${seed}: ${shown.join(", ")}; memory ${Math.round(grownBytes / 1024 / 1024)} MiB more`;
}

async function askOnce(node: DiscoveryProcess, random: SeededRandom): Promise<number> {
  const pick = (list: readonly string[]): string => list[random.integer(0, list.length - 1)] ?? "";
  const route = pick(ROUTE_NAMES);
  const path = `${route}${route.endsWith("/") ? pick(WORDS) : ""}?${pick(QUERIES)}`;
  const method = pick(METHODS);
  const body = method === "GET" || method === "HEAD" ? undefined : draw(random, pick);
  const { address, ports } = node.start;
  const init = { method, signal: AbortSignal.timeout(30_000), ...(body === undefined ? {} : { body }) };
  const answer = await fetch(`http://${address}:${ports.http}/v1/${path}`, init);
  const text = await answer.text();
  // Whatever is refused is refused with a reason.
  if (answer.status >= 400 && answer.status !== 404 && method !== "HEAD" && text.trim() === "")
    throw new Error(`${method} ${path}: ${answer.status} without a word`);
  return answer.status;
}

const ROUTE_NAMES = Object.keys(ROUTES).filter((route) => !LEFT_OUT.test(route));

/** Text that begins as JSON would and goes wrong somewhere, or does not. */
function draw(random: SeededRandom, pick: (list: readonly string[]) => string): string {
  const length = random.integer(0, 24);
  if (random.chance(0.3)) {
    const fields = Array.from(
      { length: random.integer(0, 6) },
      () => `${pick(PIECES.filter((piece) => piece.startsWith('"')))}:${pick(PIECES)}`,
    );
    return `{${fields.join(",")}}`;
  }
  return `{${Array.from({ length }, () => pick(PIECES)).join("")}`;
}
