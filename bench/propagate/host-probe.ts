import { join } from "node:path";
import { AppError } from "../../src/model/error.ts";
import { processOf } from "../../src/lab/lab-state.ts";
import { RUN_DIR } from "../../src/agent/agent-command.ts";
import { proxyPaths } from "../../src/platform/ports/proxy.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import type { Expectation, ProbeCommand, Seen } from "./probe-protocol.ts";

/** A change that is not everywhere after so long will not come. */
const SEEN_TIMEOUT_MS = 30_000;

type Command = ProbeCommand extends infer Each ? (Each extends ProbeCommand ? Omit<Each, "id"> : never) : never;

/** The handle on the probe in one host's network. */
export class HostProbe {
  readonly host: string;
  /** HAProxy's admin socket, as a process of the machine reaches it. */
  readonly proxySocket: string;
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #waiting = new Map<number, (line: { readonly value?: unknown; readonly error?: string }) => void>();
  #next = 0;

  constructor(lab: string, host: string) {
    const { pid } = processOf(lab, host);
    this.host = host;
    this.proxySocket = `/proc/${pid}/root${proxyPaths(RUN_DIR).socket}`;
    // The host's network, and all else of the machine: it needs its own sources.
    const argv = [
      "nsenter",
      "--target",
      String(pid),
      "--net",
      "--",
      process.execPath,
      join(import.meta.dir, "probe.ts"),
    ];
    this.#child = Bun.spawn(argv, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    void this.#read();
  }

  async #read(): Promise<void> {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const answer = JSON.parse(line) as { readonly id: number; readonly value?: unknown; readonly error?: string };
        this.#waiting.get(answer.id)?.(answer);
        this.#waiting.delete(answer.id);
      }
    }
  }

  async expect(what: string, expectation: Omit<Expectation, "dnsPort" | "proxySocket">): Promise<Seen> {
    const { proxySocket } = this;
    const seen = this.#ask({ kind: "expect", expectation: { dnsPort: 8600, proxySocket, ...expectation } });
    const over = new AbortController();
    const late = systemClock.sleep(SEEN_TIMEOUT_MS, over.signal).then(() => null);
    const first = await Promise.race([seen, late]);
    over.abort();
    if (first === null)
      throw new AppError("unavailable", `Cannot see "${what}" on ${this.host} after ${SEEN_TIMEOUT_MS} ms`);
    return first as Seen;
  }

  /** A PUT to Consul's API on that host; when it began, by `sharedMs`. */
  async put(path: string, body: unknown = null): Promise<number> {
    return ((await this.#ask({ kind: "put", path, body })) as { readonly startMs: number }).startMs;
  }

  async serve(port: number, text: string): Promise<void> {
    await this.#ask({ kind: "serve", port, text });
  }

  async #ask(command: Command): Promise<unknown> {
    const id = this.#next++;
    const { promise, resolve } = Promise.withResolvers<{ readonly value?: unknown; readonly error?: string }>();
    this.#waiting.set(id, resolve);
    void this.#child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    await this.#child.stdin.flush();
    const { value, error } = await promise;
    if (error !== undefined) throw new AppError("unavailable", `Cannot ask the probe on ${this.host}: ${error}`);
    return value;
  }

  async stop(): Promise<void> {
    void this.#child.stdin.end();
    this.#child.kill();
    await this.#child.exited;
  }
}
