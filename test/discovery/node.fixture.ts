/** Real processes of `apollo discovery agent` on 127.0.0.1, .2 and .3, on ports that are free at this moment. */
import { expect } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/platform/clock/system-clock.ts";

const WAIT_MS = 40_000;
const CLI = join(import.meta.dir, "../../src/cli/main.ts");

export interface Ports {
  readonly cluster: number;
  /** Of what several servers agree over. */
  readonly server: number;
  readonly http: number;
  readonly dns: number;
}

export interface NodeStart {
  readonly name: string;
  readonly address: string;
  readonly ports: Ports;
  readonly directory: string;
  readonly flags?: readonly string[];
}

interface LogLine {
  readonly msg: string;
  readonly readyMs?: number;
}

/** Each test has a directory of its own, which goes with it. */
export async function withDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "apollo-discovery-test-"));
  try {
    await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export async function freePorts(): Promise<Ports> {
  const [cluster, server, http, dns] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  return { cluster, server, http, dns };
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

export class DiscoveryProcess {
  readonly start: NodeStart;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly lines: LogLine[] = [];
  #text = "";

  constructor(start: NodeStart) {
    this.start = start;
    const { name, address, ports, directory, flags = [] } = start;
    const own = ["--node", name, "--bind", address, "--client", address, "--data-dir", join(directory, name)];
    const numbers = ["--cluster-port", ports.cluster, "--server-port", ports.server, "--http-port", ports.http];
    const more = [...numbers, "--dns-port", ports.dns].map(String);
    const argv = [process.execPath, CLI, "discovery", "agent", ...own, ...more, ...flags];
    // A killed server leaves its join token in the directory for temporary files: it must go with the test.
    const env = { ...process.env, TMPDIR: directory };
    this.#child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "pipe", env });
    void this.#read();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const piece of this.#child.stderr) {
      const text = decoder.decode(piece, { stream: true });
      this.#text += text;
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) if (line.startsWith("{")) this.lines.push(JSON.parse(line) as LogLine);
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  get said(): string {
    return this.#text;
  }

  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  /** How soon it was, by its own word. */
  async ready(): Promise<number> {
    const find = (): number | undefined => this.lines.find(({ msg }) => msg === "Ready")?.readyMs;
    const look = (): Promise<boolean> => Promise.resolve(find() !== undefined);
    await until(`${this.start.name} to be ready`, look).catch((cause: unknown) => {
      throw new Error(`${this.start.name} was not ready: ${this.#text}`, { cause });
    });
    return find() ?? 0;
  }

  signal(signal: "SIGKILL" | "SIGTERM" | "SIGINT" | "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
  }

  ended(): Promise<number> {
    return this.#child.exited;
  }

  async ask(method: string, path: string, body?: unknown): Promise<{ readonly status: number; readonly text: string }> {
    const { address, ports } = this.start;
    const init = {
      method,
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    };
    const answer = await fetch(`http://${address}:${ports.http}/v1/${path}`, init);
    return { status: answer.status, text: await answer.text() };
  }

  async get<Value>(path: string): Promise<Value> {
    const { status, text } = await this.ask("GET", path);
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${text}`);
    return JSON.parse(text) as Value;
  }

  async put(path: string, body?: unknown): Promise<void> {
    const { status, text } = await this.ask("PUT", path, body);
    expect(`${status} ${text}`).toStartWith("200");
  }

  /** What is made so has an id. */
  async create(path: string, body: unknown): Promise<{ readonly ID: string }> {
    const { status, text } = await this.ask("PUT", path, body);
    expect(`${status} ${text}`).toStartWith("200");
    return JSON.parse(text) as { readonly ID: string };
  }

  async dig(...words: readonly string[]): Promise<readonly string[]> {
    const { address, ports } = this.start;
    const argv = ["dig", `@${address}`, "-p", String(ports.dns), "+short", "+time=1", "+tries=1", ...words];
    const child = Bun.spawn(argv, { stdout: "pipe", stderr: "ignore" });
    return (await new Response(child.stdout).text()).split("\n").filter((line) => line !== "");
  }

  async statuses(): Promise<Readonly<Record<string, number>>> {
    const members = await this.get<readonly { readonly Name: string; readonly Status: number }[]>("agent/members");
    return Object.fromEntries(members.map(({ Name, Status }) => [Name, Status]));
  }

  async check(service: string): Promise<{ readonly Status: string; readonly Output: string } | undefined> {
    return (
      await this.get<readonly { readonly Status: string; readonly Output: string }[]>(`health/checks/${service}`)
    )[0];
  }
}

export async function until(what: string, met: () => Promise<boolean>): Promise<number> {
  const startedMs = performance.now();
  let last: unknown = null;
  const look = (): Promise<boolean> =>
    met().catch((error: unknown) => {
      last = error;
      return false;
    });
  while (!(await look())) {
    if (performance.now() - startedMs > WAIT_MS)
      throw new Error(`Waited ${WAIT_MS / 1000} s for ${what}`, { cause: last });
    await systemClock.sleep(20);
  }
  return performance.now() - startedMs;
}

/** Starts processes and ends all of them whatever happens. */
export async function withNodes(run: (begin: (start: NodeStart) => DiscoveryProcess) => Promise<void>): Promise<void> {
  const all: DiscoveryProcess[] = [];
  try {
    await run((start) => {
      const node = new DiscoveryProcess(start);
      all.push(node);
      return node;
    });
  } finally {
    for (const node of all) node.signal("SIGKILL");
    await Promise.all(all.map((node) => node.ended()));
  }
}
