/**
 * The peer: what a templating tool does with a change that it already knows. It writes a hosts file and tells dnsmasq to read it
 * again, writes a configuration, checks it and reloads HAProxy. One host, and nobody had to tell it: what ours also has in its time,
 * the durable write and the way to every host, is not in the peer's.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../../src/model/error.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { DnsEye, follow, proxyTargets } from "./eyes.ts";
import { sharedMs, type Step } from "./probe-protocol.ts";

const NAME = "peer.test";
const BACKEND = "peer";
const STAYING = "127.0.0.2";
const COMING = "127.0.0.3";
const START_POLL_MS = 20;

export interface PeerTimes {
  readonly dnsMs: readonly number[];
  readonly proxyMs: readonly number[];
}

/** Null when dnsmasq or HAProxy is not installed. */
export async function measureReloads(changes: number): Promise<PeerTimes | null> {
  if (Bun.which("dnsmasq") === null || Bun.which("haproxy") === null) return null;
  const peer = new ReloadPeer(await mkdtemp(join(tmpdir(), "apollo-bench-peer-")));
  try {
    return await peer.measure(changes);
  } finally {
    await peer.stop();
  }
}

class ReloadPeer {
  readonly #directory: string;
  readonly #dnsPort = freePort();
  readonly #httpPort = freePort();
  #dnsmasq: Bun.Subprocess | null = null;
  #eye: DnsEye | null = null;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async measure(changes: number): Promise<PeerTimes> {
    await this.#start();
    const eye = await DnsEye.open(this.#dnsPort);
    this.#eye = eye;
    const [dnsMs, proxyMs]: [number[], number[]] = [[], []];
    // The first two are the starts.
    for (let turn = -2; turn < changes; turn += 1) {
      const present = turn % 2 === 0;
      const steps: readonly Step[] = [{ address: COMING, present }];
      const addresses = present ? [STAYING, COMING] : [STAYING];
      const startMs = sharedMs();
      await this.#writeHosts(addresses);
      this.#dnsmasq?.kill("SIGHUP");
      const [dns] = await follow(steps, () => eye.look(NAME));
      const reloadMs = sharedMs();
      await this.#reload(addresses);
      const [proxy] = await follow(steps, () => proxyTargets(this.#path("admin.sock"), BACKEND));
      if (turn < 0) continue;
      dnsMs.push((dns ?? Number.NaN) - startMs);
      proxyMs.push((proxy ?? Number.NaN) - reloadMs);
    }
    return { dnsMs, proxyMs };
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  async #start(): Promise<void> {
    await this.#writeHosts([STAYING]);
    const address = ["--bind-interfaces", "--listen-address=127.0.0.1", `--port=${this.#dnsPort}`];
    const own = ["--conf-file=/dev/null", "--user=", `--pid-file=${this.#path("dnsmasq.pid")}`];
    const names = ["--no-resolv", "--no-hosts", "--local=/test/", `--addn-hosts=${this.#path("hosts")}`];
    this.#dnsmasq = Bun.spawn(["dnsmasq", "--keep-in-foreground", ...own, ...address, ...names], { stderr: "ignore" });
    await this.#reload([STAYING]);
    while ((await proxyTargets(this.#path("admin.sock"), BACKEND)).length === 0) await systemClock.sleep(START_POLL_MS);
  }

  async #writeHosts(addresses: readonly string[]): Promise<void> {
    await writeFile(this.#path("hosts"), addresses.map((address) => `${address} ${NAME}\n`).join(""));
  }

  async #reload(addresses: readonly string[]): Promise<void> {
    const config = this.#path("haproxy.cfg");
    const lines = [
      "global",
      `  stats socket ${this.#path("admin.sock")} mode 600 level admin expose-fd listeners`,
      "defaults",
      "  mode http",
      "  timeout connect 5s",
      "  timeout client 50s",
      "  timeout server 50s",
      "frontend http",
      `  bind 127.0.0.1:${this.#httpPort}`,
      `  default_backend ${BACKEND}`,
      `backend ${BACKEND}`,
      ...addresses.map((address, at) => `  server s${at} ${address}:80`),
      "",
    ];
    await writeFile(config, lines.join("\n"));
    await run(["haproxy", "-c", "-f", config]);
    const old = await this.#proxyPids();
    const handOver = old.length === 0 ? [] : ["-x", this.#path("admin.sock"), "-sf", ...old];
    await run(["haproxy", "-D", "-f", config, "-p", this.#path("haproxy.pid"), ...handOver]);
  }

  async #proxyPids(): Promise<readonly string[]> {
    const text = await readFile(this.#path("haproxy.pid"), "utf8").catch(() => "");
    return text.split("\n").filter((line) => line !== "");
  }

  async stop(): Promise<void> {
    this.#eye?.close();
    this.#dnsmasq?.kill();
    await this.#dnsmasq?.exited;
    for (const pid of await this.#proxyPids()) process.kill(Number(pid), "SIGTERM");
    await rm(this.#directory, { recursive: true, force: true });
  }
}

async function run(argv: readonly string[]): Promise<void> {
  const child = Bun.spawn([...argv], { stdout: "ignore", stderr: "pipe" });
  const [said, code] = await Promise.all([new Response(child.stderr).text(), child.exited]);
  if (code !== 0) throw new AppError("unavailable", `Cannot run "${argv.join(" ")}": exit code ${code}: ${said}`);
}

function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  server.stop(true);
  return server.port;
}
