import { spawn } from "node:child_process";
import { argvInNode, nodeEnv } from "./node-command.ts";
import { listChildren, signalProcess } from "./process-table.ts";
import { waitFor } from "./wait-for.ts";

/** What a client that never stopped asking has seen. */
export interface LoadResult {
  readonly requests: number;
  /** Everything but status 200, as `<status> <curl's message>`. */
  readonly failures: readonly string[];
  /** Slowest request. */
  readonly slowestMs: number;
  /** Bodies, one a line, in order. */
  readonly bodies: readonly string[];
}

export interface LoadTarget {
  readonly url: string;
  readonly hostHeader: string;
  readonly ratePerS: number;
}

/** Ends by itself after this long, whatever becomes of the one who started it. */
const LOAD_MAX_S = 300;
const REQUEST_TIMEOUT_S = 5;
const STOP_TIMEOUT_MS = 10_000;

/**
 * Calls a URL at a constant rate from a host of a lab, with a new connection each time, so that a moment in which nothing
 * listens is seen; nothing is retried. One curl does it: it takes no part in the machine's load to speak of.
 */
export class LoadClient {
  readonly #target: LoadTarget;
  readonly #lab: string;
  readonly #host: string;
  #stdout = "";
  #stderr = "";
  #pid = 0;
  #ended: Promise<void> = Promise.resolve();

  constructor(lab: string, host: string, target: LoadTarget) {
    this.#lab = lab;
    this.#host = host;
    this.#target = target;
  }

  /** Resolves once the first request was answered, well or not. */
  async start(): Promise<void> {
    const [program = "", ...argv] = argvInNode(this.#lab, this.#host, loadArgv(this.#target));
    const child = spawn(program, argv, { stdio: ["ignore", "pipe", "pipe"], env: nodeEnv(this.#lab, this.#host) });
    child.stdout.setEncoding("utf8").on("data", (text: string) => (this.#stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (this.#stderr += text));
    this.#ended = new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", () => resolve());
    });
    this.#pid = child.pid ?? 0;
    await waitFor(() => Promise.resolve(this.#stderr.includes("\n")), {
      what: `the first answer to the load client on ${this.#host}`,
      timeoutMs: STOP_TIMEOUT_MS,
    });
  }

  /** What was seen up to now. */
  result(): LoadResult {
    return parseLoad(this.#stdout, this.#stderr);
  }

  /** Ends it and says what it saw; a request under way is not counted. */
  async stop(): Promise<LoadResult> {
    for (const curl of listChildren(this.#pid)) signalProcess(curl, "SIGTERM");
    await this.#ended;
    return this.result();
  }
}

function loadArgv({ url, hostHeader, ratePerS }: LoadTarget): readonly string[] {
  return [
    "curl",
    "--silent",
    "--no-buffer",
    "--max-time",
    String(REQUEST_TIMEOUT_S),
    "--rate",
    `${ratePerS}/s`,
    "--header",
    `Host: ${hostHeader}`,
    "--header",
    "Connection: close",
    // Standard error is not buffered: what was done is known even when curl is ended in the midst of it.
    "--write-out",
    "%{stderr}%{http_code} %{time_total} %{errormsg}\n",
    // Curl's own counter makes one request of each number.
    `${url}?[1-${ratePerS * LOAD_MAX_S}]`,
  ];
}

/** Reads curl's bodies (standard output) and its report lines (standard error). */
export function parseLoad(stdout: string, stderr: string): LoadResult {
  const lines = stderr.split("\n").slice(0, -1);
  const times = lines.map((line) => Number(line.split(" ")[1] ?? 0) * 1000);
  return {
    requests: lines.length,
    failures: lines.filter((line) => !line.startsWith("200 ")),
    slowestMs: times.reduce((most, ms) => Math.max(most, ms), 0),
    bodies: stdout.split("\n").filter((line) => line !== ""),
  };
}
