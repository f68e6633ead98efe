/**
 * A server's own etcd (Debian's `etcd-server`, 3.4) as a child process. Clients reach it by a socket file in its directory alone,
 * which only the owner may enter; its members speak to each other over TLS with certificates of the cluster's CA on both sides.
 */
import { mkdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { AppError } from "../../model/error.ts";
import type { Clock } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import { EtcdGateway } from "./etcd-gateway.ts";

export interface EtcdProcessOptions {
  readonly name: string;
  /** Of its own; made when missing. */
  readonly directory: string;
  /** `https://ADDRESS:PORT` that other members reach it by; with `http:` there is no TLS. */
  readonly peerUrl: string;
  /** Counts at the very first start only: all members, and whether the cluster is there already. */
  readonly cluster: { readonly state: "new" | "existing"; readonly members: readonly EtcdPeer[] };
  /** Paths of PEM files. */
  readonly tls: { readonly certificate: string; readonly key: string; readonly ca: string } | null;
  readonly clock: Clock;
  readonly log: Log;
}

export interface EtcdPeer {
  readonly name: string;
  readonly peerUrl: string;
}

/** etcd 3.4 wants a host and a port even of a socket file; the file has this name. */
const SOCKET = "client:1";
/** Of a path to a socket file, by the kernel (unix(7)). */
const SOCKET_PATH_MAX = 107;
const RESTART_MS = 500;
const STOP_MS = 3000;
const READY_POLL_MS = 25;
const WORDS_KEPT = 20;

/** Beyond etcd's own limits, so that it takes every commit that the other store takes: see `STORE_WRITES_MAX`. */
const LIMITS = ["--max-txn-ops", "20100", "--max-request-bytes", String(64 * 1024 * 1024)];
/** With pre-vote a member that was away does not disturb the others; joins are checked by the server that leads. */
const CONSENSUS = [
  "--heartbeat-interval",
  "100",
  "--election-timeout",
  "500",
  "--pre-vote",
  "--strict-reconfig-check=false",
];
/** History is of no use to us. */
const SPACE = [
  "--auto-compaction-mode",
  "revision",
  "--auto-compaction-retention",
  "1000",
  "--quota-backend-bytes",
  String(8 * 1024 ** 3),
  "--snapshot-count",
  "10000",
];

export class EtcdProcess {
  readonly gateway: EtcdGateway;
  readonly #options: EtcdProcessOptions;
  readonly #end = new AbortController();
  readonly #removed = new AbortController();
  readonly #done: Promise<void>;
  readonly #words: string[] = [];
  #child: Bun.Subprocess<"ignore", "ignore", "pipe"> | null = null;

  /** @throws AppError `conflict` when there is no etcd on this machine, `invalid` for a directory with too long a path. */
  static start(options: EtcdProcessOptions): EtcdProcess {
    requirePrograms(options.name);
    const socket = join(options.directory, SOCKET);
    if (Buffer.byteLength(socket) > SOCKET_PATH_MAX) {
      throw new AppError("invalid", `Cannot run etcd in "${options.directory}": the path is too long`, {
        hint: `Choose a --data-dir whose path is at most ${SOCKET_PATH_MAX - SOCKET.length - "/etcd/".length} bytes long`,
      });
    }
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    return new EtcdProcess(options, socket);
  }

  private constructor(options: EtcdProcessOptions, socket: string) {
    this.#options = options;
    this.gateway = new EtcdGateway(socket);
    this.#done = this.#supervise();
  }

  /** Resolves when it answers: there is a quorum and this member is a full one. False after an abort. */
  async ready(signal: AbortSignal): Promise<boolean> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const answers = await this.gateway.get("ready", signal).then(
        () => true,
        () => false,
      );
      if (answers) return true;
      await clock.sleep(READY_POLL_MS, signal);
    }
    return false;
  }

  /** Aborts when the other members have taken this one out: it does not run any more. */
  get removed(): AbortSignal {
    return this.#removed.signal;
  }

  async close(): Promise<void> {
    this.#end.abort();
    this.#child?.kill("SIGTERM");
    const stopped = new AbortController();
    void this.#options.clock.sleep(STOP_MS, stopped.signal).then(() => this.#child?.kill("SIGKILL"));
    await this.#done;
    stopped.abort();
  }

  async #supervise(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#end;
    while (!signal.aborted) {
      this.#child = this.#spawn();
      await this.#listen(this.#child);
      const code = await this.#child.exited;
      if (signal.aborted) return;
      // Who stops it gets another code (128 + the signal); of itself it ends without fault only when it was removed.
      if (code === 0) return this.#removed.abort();
      log.warn("This server's etcd ended and is started again", { code, said: this.#words.at(-1) ?? "" });
      await clock.sleep(RESTART_MS, signal);
    }
  }

  #spawn(): Bun.Subprocess<"ignore", "ignore", "pipe"> {
    const { name, directory, peerUrl, cluster, tls } = this.#options;
    const scheme = `unix://${SOCKET}`;
    // One that was killed leaves its socket file, and etcd 3.4 does not start over it.
    rmSync(join(directory, SOCKET), { force: true });
    const own = ["--name", name, "--data-dir", join(directory, "data"), "--listen-client-urls", scheme];
    const where = [
      "--advertise-client-urls",
      scheme,
      "--listen-peer-urls",
      peerUrl,
      "--initial-advertise-peer-urls",
      peerUrl,
    ];
    const members = cluster.members.map((each) => `${each.name}=${each.peerUrl}`).join(",");
    const start = ["--initial-cluster", members, "--initial-cluster-state", cluster.state];
    const words = ["--logger", "zap", "--log-level", "warn"];
    // A server that is killed takes its etcd with it: two of them on one directory would be refused by a lock.
    const argv = ["setpriv", "--pdeathsig", "SIGKILL", "--", "etcd", ...own, ...where, ...start, ...words];
    return Bun.spawn([...argv, ...LIMITS, ...CONSENSUS, ...SPACE, ...tlsFlags(tls)], {
      cwd: directory,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
      // Ctrl-C in a terminal is for the server, which ends its etcd last.
      detached: true,
    });
  }

  /** Its pipe must be read, or it stops when that is full. */
  async #listen(child: Bun.Subprocess<"ignore", "ignore", "pipe">): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of child.stderr) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        this.#words.push(line.slice(0, 1000));
        this.#options.log.debug("etcd", { line });
      }
      this.#words.splice(0, this.#words.length - WORDS_KEPT);
    }
  }
}

/** Where an etcd is to run. */
export interface EtcdPlace {
  /** Of the server, for messages. */
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

/** Looks before anything depends on it. @throws AppError `conflict` when there is no etcd on this machine, or its port is taken. */
export async function requireEtcd({ name, address, port }: EtcdPlace): Promise<void> {
  requirePrograms(name);
  const server = createServer();
  const free = await new Promise<boolean>((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, address, () => server.close(() => resolve(true)));
  });
  if (free) return;
  throw new AppError("conflict", `Cannot run several servers: server "${name}" cannot listen on ${address}:${port}`, {
    hint: `See who has it with "ss -ltnp sport = :${port}", or start that server with another --server-port`,
  });
}

function requirePrograms(name: string): void {
  for (const program of ["etcd", "setpriv"]) {
    if (Bun.which(program) !== null) continue;
    throw new AppError("conflict", `Cannot run several servers: server "${name}" finds no program "${program}"`, {
      hint: `On its machine: apt-get install ${program === "etcd" ? "etcd-server" : "util-linux"}`,
    });
  }
}

function tlsFlags(tls: EtcdProcessOptions["tls"]): readonly string[] {
  if (tls === null) return [];
  const files = ["--peer-cert-file", tls.certificate, "--peer-key-file", tls.key, "--peer-trusted-ca-file", tls.ca];
  // The CA signs for servers alone, so its word is enough; addresses of machines with several networks are no proof.
  return [...files, "--peer-client-cert-auth", "--experimental-peer-skip-client-san-verification"];
}
