/** Groups of servers of `apollo discovery agent`: how they are begun and asked. */
import { readdirSync, readlinkSync } from "node:fs";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { type DiscoveryProcess, freePorts, type NodeStart, until } from "./node.fixture.ts";

export type Begin = (start: NodeStart) => DiscoveryProcess;

export interface Three {
  readonly s1: DiscoveryProcess;
  readonly s2: DiscoveryProcess;
  readonly s3: DiscoveryProcess;
  readonly all: readonly DiscoveryProcess[];
}

/** Of servers at 127.0.0.1, .2 and .3, all told to join the first one. */
export async function places(directory: string, flags: readonly string[]): Promise<(at: number) => NodeStart> {
  const ports = await freePorts();
  const all = ["--server", "--join", `127.0.0.1:${ports.cluster}`, ...flags];
  return (at) => ({ name: `s${at}`, address: `127.0.0.${at}`, ports, directory, flags: all });
}

export function joinOf({ ports }: NodeStart): readonly string[] {
  return ["--join", `127.0.0.1:${ports.cluster}`];
}

/** Which of them leads, by the word of `asked`. */
export async function leaderOf(
  asked: DiscoveryProcess,
  all: readonly DiscoveryProcess[],
): Promise<DiscoveryProcess | null> {
  const { status, text } = await asked.ask("GET", "status/leader");
  const named = status === 200 ? (JSON.parse(text) as string) : "";
  return all.find(({ start }) => named === `${start.address}:${start.ports.server}`) ?? null;
}

export async function present(asked: DiscoveryProcess, all: readonly DiscoveryProcess[]): Promise<DiscoveryProcess> {
  let found: DiscoveryProcess | null = null;
  await until("a leader", async () => (found = await leaderOf(asked, all)) !== null);
  if (found === null) throw new Error("there is a leader");
  return found;
}

export async function peersOf(asked: DiscoveryProcess): Promise<number> {
  return (await asked.get<readonly string[]>("status/peers")).length;
}

export async function members(asked: DiscoveryProcess): Promise<string> {
  return JSON.stringify(await asked.statuses());
}

/** Each of them knows all others and reaches the one that leads. */
export async function whole(all: readonly DiscoveryProcess[], statuses: string): Promise<void> {
  for (const each of all) {
    await until(`${each.start.name} to know ${statuses}`, async () => (await members(each)) === statuses);
    await until("it to answer", async () => (await each.ask("GET", "kv/none")).status === 404);
  }
}

/** Processes whose working directory is below this one: each server's etcd. */
export function childrenIn(directory: string): readonly string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`).startsWith(directory);
    } catch {
      return false;
    }
  });
}

export interface Read {
  readonly status: number;
  readonly text: string;
  readonly index: string | null;
  readonly knownLeader: string | null;
  readonly lastContact: number;
}

export async function read({ start: { address, ports } }: DiscoveryProcess, path: string): Promise<Read> {
  const answer = await fetch(`http://${address}:${ports.http}/v1/${path}`);
  const header = (name: string): string | null => answer.headers.get(`x-consul-${name}`);
  const lastContact = Number(header("lastcontact") ?? NaN);
  const text = await answer.text();
  return { status: answer.status, text, index: header("index"), knownLeader: header("knownleader"), lastContact };
}

export interface Writing {
  /** Numbers of the keys whose writes were acknowledged. */
  readonly acknowledged: readonly number[];
  end(): Promise<void>;
}

export function write(over: DiscoveryProcess): Writing {
  const acknowledged: number[] = [];
  let stop = false;
  const writing = (async () => {
    for (let at = 0; !stop; at += 1) {
      const answer = await over.ask("PUT", `kv/n/${at}`, String(at)).catch(() => null);
      if (answer?.status === 200 && answer.text.trim() === "true") acknowledged.push(at);
      else await systemClock.sleep(20);
    }
  })();
  return {
    acknowledged,
    end: async () => {
      stop = true;
      await writing;
    },
  };
}
