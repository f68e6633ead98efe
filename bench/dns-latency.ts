/**
 * Time until an answer at a steady rate, measured from one socket of a process that is where the client is; the client's own time is
 * in it. Arguments of that process: address, port, file of questions, questions a second, seconds.
 */
import packet from "dns-packet";
import { systemClock } from "../src/platform/clock/system-clock.ts";
import type { Running } from "./dns-running.ts";

/** Questions leave in small groups: timers are no finer. */
const TICK_MS = 1;
/** An answer that is not here by then is lost. */
const GRACE_MS = 500;

export interface LatencyFigures {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly lost: number;
}

/** @param queries file of questions as dnsperf reads it: name and type a line */
export async function measureLatency(
  { address, port, client }: Running,
  queries: string,
  { perSecond, seconds }: { readonly perSecond: number; readonly seconds: number },
): Promise<LatencyFigures> {
  const numbers = [perSecond, seconds].map(String);
  const argv = [...client, process.execPath, import.meta.path, address, String(port), queries, ...numbers];
  const child = Bun.spawn(argv, { stdout: "pipe", stderr: "inherit" });
  return (await new Response(child.stdout).json()) as LatencyFigures;
}

async function askSteadily(
  { address, port }: { readonly address: string; readonly port: number },
  questions: readonly string[],
  load: { readonly perSecond: number; readonly seconds: number },
): Promise<LatencyFigures> {
  const messages = questions.map((line) => {
    const [name = "", type = "A"] = line.split(" ");
    return packet.encode({ type: "query", id: 0, flags: 256, questions: [{ name, type: type as "A", class: "IN" }] });
  });
  const sentAtMs = new Float64Array(65_536);
  const latencies: number[] = [];
  const socket = await Bun.udpSocket({
    connect: { hostname: address, port },
    socket: {
      data: (_, answer) => {
        const id = answer.readUInt16BE(0);
        if (sentAtMs[id] !== 0) latencies.push(performance.now() - (sentAtMs[id] ?? 0));
        sentAtMs[id] = 0;
      },
    },
  });
  const startedAtMs = performance.now();
  const all = load.perSecond * load.seconds;
  let sent = 0;
  while (sent < all) {
    const due = Math.min(all, Math.floor(((performance.now() - startedAtMs) / 1000) * load.perSecond));
    const group: Uint8Array[] = [];
    for (; sent < due; sent++) {
      const message = new Uint8Array(messages[sent % messages.length] ?? []);
      const id = sent & 0xffff;
      message[0] = id >>> 8;
      message[1] = id;
      sentAtMs[id] = performance.now();
      group.push(message);
    }
    if (group.length > 0) socket.sendMany(group);
    await systemClock.sleep(TICK_MS);
  }
  await systemClock.sleep(GRACE_MS);
  socket.close();
  const sorted = latencies.toSorted((a, b) => a - b);
  const at = (share: number): number => Math.round((sorted[Math.floor(sorted.length * share)] ?? Number.NaN) * 1000);
  return { p50Us: at(0.5), p99Us: at(0.99), lost: sent - latencies.length };
}

if (import.meta.main) {
  const [address = "", port = "", queries = "", perSecond = "", seconds = ""] = process.argv.slice(2);
  const questions = (await Bun.file(queries).text()).trim().split("\n");
  const load = { perSecond: Number(perSecond), seconds: Number(seconds) };
  console.log(JSON.stringify(await askSteadily({ address, port: Number(port) }, questions, load)));
}
