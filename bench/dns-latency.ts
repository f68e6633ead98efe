/** Time until an answer at a steady rate, measured from one socket of this process; the client's own time is in it. */
import packet from "dns-packet";
import { systemClock } from "../src/platform/clock/system-clock.ts";

/** Questions leave in small groups: timers are no finer. */
const TICK_MS = 1;
/** An answer that is not here by then is lost. */
const GRACE_MS = 500;

export interface LatencyFigures {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly lost: number;
}

/** @param questions lines of dnsperf: name and type */
export async function measureLatency(
  port: number,
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
    connect: { hostname: "127.0.0.1", port },
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
