/** Thousands of clients that wait for a change over real HTTP: what they cost, and that each is answered when it comes. */
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import {
  type DiscoveryProcess,
  freePorts,
  until,
  withDirectory,
  withNodes,
} from "../../test/discovery/node.fixture.ts";

const DEFAULT_COUNT = 10_000;
/** As many connections are opened at a time: a burst of thousands overflows any listen queue. */
const AT_ONCE = 200;
/** What a waiting client may cost the server, its connection included. */
const BYTES_EACH_MAX = 40 * 1024;
/** Rounds of the same load: what grows from round to round is a leak. */
const ROUNDS = 3;
const GROWTH_BYTES_MAX = 64 * 1024 * 1024;

/** @throws Error when a client is not answered, or memory grows beyond its bounds. */
export async function soakIdleQueries([count = String(DEFAULT_COUNT)]: readonly string[]): Promise<string> {
  const clients = Number(count);
  const report: string[] = [];
  await withDirectory((directory) =>
    withNodes(async (begin) => {
      const ports = await freePorts();
      const flags = ["--server", "--bootstrap"];
      const node = begin({ name: "s1", address: "127.0.0.1", ports, directory, flags });
      await node.ready();
      await node.put("kv/watched", "0");
      const after: number[] = [];
      for (let round = 1; round <= ROUNDS; round += 1) {
        const { waitingBytes, wakeMs } = await waitOnce(node, clients, round);
        const each = waitingBytes / clients;
        report.push(
          `round ${round}: ${Math.round(each / 1024)} KiB each, all answered ${Math.round(wakeMs)} ms after the change`,
        );
        // The process itself breathes by some dozens of MiB, whatever the number of clients.
        if (waitingBytes > GROWTH_BYTES_MAX + clients * BYTES_EACH_MAX)
          throw new Error(`A waiting client costs ${Math.round(each)} bytes, ${BYTES_EACH_MAX} at most`);
        after.push(residentBytes(node));
      }
      const growth = (after.at(-1) ?? 0) - (after[0] ?? 0);
      report.push(`memory after the last round: ${Math.round(growth / 1024 / 1024)} MiB more than after the first`);
      if (growth > GROWTH_BYTES_MAX) throw new Error(`Memory grew by ${growth} bytes over ${ROUNDS} rounds`);
    }),
  );
  return `${clients} idle queries\n${report.join("\n")}`;
}

interface Waited {
  readonly waitingBytes: number;
  readonly wakeMs: number;
}

async function waitOnce(node: DiscoveryProcess, clients: number, round: number): Promise<Waited> {
  const { address, ports } = node.start;
  const index = (await node.get<readonly { readonly ModifyIndex: number }[]>("kv/watched"))[0]?.ModifyIndex ?? 0;
  const before = residentBytes(node);
  const sockets: Socket[] = [];
  let answered = 0;
  try {
    while (sockets.length < clients) {
      const batch = Array.from({ length: Math.min(AT_ONCE, clients - sockets.length) }, async () => {
        const socket = await open(address, ports.http);
        socket.once("data", () => (answered += 1));
        socket.write(`GET /v1/kv/watched?index=${index}&wait=10m HTTP/1.1\r\nHost: ${address}\r\n\r\n`);
        return socket;
      });
      sockets.push(...(await Promise.all(batch)));
    }
    await until("all to wait", async () => (await waiting(node)) === clients);
    if (answered > 0) throw new Error(`${answered} clients were answered before anything changed`);
    const waitingBytes = Math.max(0, residentBytes(node) - before);
    const startedMs = performance.now();
    await node.put("kv/watched", String(round));
    await until("all to be answered", () => Promise.resolve(answered === clients));
    return { waitingBytes, wakeMs: performance.now() - startedMs };
  } finally {
    for (const socket of sockets) socket.destroy();
    await until("none to wait any more", async () => (await waiting(node)) === 0);
  }
}

function open(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port }, () => resolve(socket));
    socket.once("error", reject);
  });
}

async function waiting(node: DiscoveryProcess): Promise<number> {
  const { Gauges } = await node.get<{ readonly Gauges: readonly { readonly Name: string; readonly Value: number }[] }>(
    "agent/metrics",
  );
  return Gauges.find(({ Name }) => Name === "consul.rpc.queries_blocking")?.Value ?? -1;
}

export function residentBytes(node: DiscoveryProcess): number {
  const pages = readFileSync(`/proc/${node.pid}/statm`, "utf8").split(" ")[1];
  return Number(pages) * 4096;
}
