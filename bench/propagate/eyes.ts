/** Looks at a DNS server and at a HAProxy every few milliseconds until they are as expected. */
import { decode, encode } from "dns-packet";
import { askAdminSocket } from "../../src/platform/haproxy/admin-socket.ts";
import { parseStatistics } from "../../src/platform/haproxy/parse-haproxy.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { AppError } from "../../src/model/error.ts";
import { sharedMs, type Step } from "./probe-protocol.ts";

/** A look at DNS and one at HAProxy come this long after the one before: what is measured must not be the measuring. */
const GAP_MS = 2;
/** An answer that is lost is asked for again. */
const ANSWER_MS = 100;
const QUESTION_ID = 7;

/** Who waits for the next answer. */
interface Waiting {
  take: (addresses: readonly string[]) => void;
}

/** Asks one DNS server one name at a time over one socket. */
export class DnsEye {
  readonly #socket: Bun.udp.ConnectedSocket<"buffer">;
  readonly #waiting: Waiting;

  private constructor(socket: Bun.udp.ConnectedSocket<"buffer">, waiting: Waiting) {
    this.#socket = socket;
    this.#waiting = waiting;
  }

  static async open(port: number): Promise<DnsEye> {
    const waiting: Waiting = { take: () => undefined };
    const socket = await Bun.udpSocket({
      connect: { hostname: "127.0.0.1", port },
      socket: { data: (_, bytes) => waiting.take(addressesIn(bytes)) },
    });
    return new DnsEye(socket, waiting);
  }

  /** An open socket keeps its process from ending. */
  close(): void {
    this.#socket.close();
  }

  async look(name: string): Promise<readonly string[]> {
    const question = encode({ id: QUESTION_ID, type: "query", flags: 256, questions: [{ type: "A", name }] });
    for (;;) {
      const { promise, resolve } = Promise.withResolvers<readonly string[] | null>();
      const timer = setTimeout(() => resolve(null), ANSWER_MS);
      this.#waiting.take = resolve;
      this.#socket.send(question);
      const addresses = await promise;
      clearTimeout(timer);
      if (addresses !== null) return addresses;
    }
  }
}

function addressesIn(bytes: Buffer): readonly string[] {
  const { answers = [] } = decode(bytes);
  return answers.flatMap((answer) => (answer.type === "A" ? [answer.data] : []));
}

/** Addresses of the servers of a backend that take requests; none while HAProxy is being replaced. */
export async function proxyTargets(socket: string, backend: string): Promise<readonly string[]> {
  const text = await askAdminSocket(socket, "show stat -1 6 -1").catch((error: unknown) => {
    if (error instanceof AppError) return "";
    throw error;
  });
  return parseStatistics(text)
    .servers.filter((server) => server.backend === backend && server.state === "ready")
    .map(({ address }) => address);
}

function fulfils(step: Step, addresses: readonly string[]): boolean {
  if ("count" in step) return new Set(addresses).size === step.count;
  return addresses.includes(step.address) === step.present;
}

/** When each step in turn was seen first. */
export async function follow(
  steps: readonly Step[],
  look: () => Promise<readonly string[]>,
): Promise<readonly number[]> {
  const seen: number[] = [];
  for (const step of steps) {
    while (!fulfils(step, await look())) await systemClock.sleep(GAP_MS);
    seen.push(sharedMs());
  }
  return seen;
}
