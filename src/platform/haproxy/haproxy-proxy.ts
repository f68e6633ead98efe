import { formatEndpoint } from "../../model/ip6.ts";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { AppError, unreachable } from "../../model/error.ts";
import type { Clock } from "../ports/clock.ts";
import type { Proxy, ProxyAction, ProxyPaths, ProxyState } from "../ports/proxy.ts";
import type { Runner } from "../ports/runner.ts";
import { askAdminSocket } from "./admin-socket.ts";
import { parseInfo, parseMap, parseStatistics, type ProxyInfo, renderMap } from "./parse-haproxy.ts";

export interface HaproxyOptions {
  readonly paths: ProxyPaths;
  readonly runner: Runner;
  readonly clock: Clock;
  /** Program to run; default `haproxy` from PATH. */
  readonly program?: string;
}

/** `haproxy -c` needs 0.6 s for 5,000 servers; a loaded host may be ten times slower. */
const START_TIMEOUT_MS = 20_000;
/** A process that ends on SIGTERM does so at once. */
const STOP_TIMEOUT_MS = 5000;
const STOP_POLL_MS = 20;
/** A process that was told to take no more connections does so when it runs next. */
const DEAF_TIMEOUT_MS = 3000;
const NOTHING: Omit<ProxyState, "saved"> = { running: false, structure: null, backends: [], servers: [], map: {} };

/**
 * HAProxy as a daemon of its own: not a child, so that it outlives the agent, and not in master-worker mode, which
 * would make `pid unchanged` mean nothing and keeps a parent that reads files again at bad moments. What runs is what
 * its socket says; the structure it was started with is in its `description`, so nothing needs to be remembered.
 */
export class HaproxyProxy implements Proxy {
  readonly #paths: ProxyPaths;
  readonly #runner: Runner;
  readonly #clock: Clock;
  readonly #program: string;

  constructor({ paths, runner, clock, program }: HaproxyOptions) {
    this.#paths = paths;
    this.#runner = runner;
    this.#clock = clock;
    this.#program = program ?? "haproxy";
  }

  async observe(): Promise<ProxyState> {
    const saved = await this.#readSaved();
    const answers = await this.#answersOf(["show info", "show stat -1 6 -1", `show map ${this.#paths.map}`]);
    const [text = "", statistics = "", map = ""] = answers ?? [];
    const info = answers === null ? null : parseInfo(text);
    if (info === null) return { ...NOTHING, saved };
    return {
      running: true,
      structure: info.structure,
      ...parseStatistics(statistics),
      map: parseMap(map, "socket"),
      saved,
    };
  }

  async apply(action: ProxyAction): Promise<void> {
    switch (action.kind) {
      case "load":
        return await this.#load(action);
      case "save":
        return await this.#save(action);
      case "add-server": {
        const { backend, name, address, port } = action;
        return await this.#expect(
          `add server ${backend}/${name} ${formatEndpoint(address, port)}`,
          "New server registered.",
        );
      }
      case "set-server":
        return await this.#expect(`set server ${action.backend}/${action.name} state ${action.state}`, "");
      case "delete-server":
        return await this.#expect(`del server ${action.backend}/${action.name}`, "Server deleted.");
      case "put-map":
        return await this.#putMap(action.key, action.value);
      case "delete-map":
        return await this.#expect(`del map ${this.#paths.map} ${action.key}`, "");
      default:
        return unreachable(action, "proxy action");
    }
  }

  async stop(): Promise<void> {
    for (const pid of await this.#ownPids()) {
      signalProcess(pid, "SIGTERM");
      const deadline = this.#clock.monotonicMs() + STOP_TIMEOUT_MS;
      while (await this.#isOurs(pid)) {
        if (this.#clock.monotonicMs() > deadline) signalProcess(pid, "SIGKILL");
        await this.#clock.sleep(STOP_POLL_MS);
      }
    }
    await rm(this.#paths.pid, { force: true });
    await rm(this.#paths.socket, { force: true });
  }

  /** Checked under other names first: the files of the last good configuration stay when HAProxy refuses the new one. */
  async #load(action: Extract<ProxyAction, { kind: "load" }>): Promise<void> {
    const { config, map, socket, pid } = this.#paths;
    await mkdir(dirname(config), { recursive: true, mode: 0o755 });
    // The check resolves the map's path, so a map must be there before the first start.
    if ((await readText(map)) === null) await writeFile(map, "");
    const candidate = `${config}.new`;
    await writeFile(candidate, action.text, { mode: 0o644 });
    await this.#check(candidate);
    await this.#save(action);
    await rm(candidate, { force: true });

    const old = await this.#ownPids();
    const answers = (await this.#info()) !== null;
    const handOver = old.length === 0 ? [] : [...(answers ? ["-x", socket] : []), "-sf", ...old.map(String)];
    // A socket file that nobody answers on would only be in the way.
    if (!answers) await rm(socket, { force: true });
    const argv = [this.#program, "-D", "-f", config, "-p", pid, ...handOver];
    const result = await this.#runner.run(argv, { timeoutMs: START_TIMEOUT_MS, okCodes: [0, 1] });
    if (result.code !== 0) throw await this.#startError(result.stderr);
    await this.#untilDeaf(old);
  }

  /**
   * Until the processes take no connection any more: they are told to by a signal, and on a busy machine one that has not run
   * since would answer new clients by the configuration of before. One that hangs is not waited for without end.
   */
  async #untilDeaf(pids: readonly number[]): Promise<void> {
    if (pids.length === 0) return;
    const deadline = this.#clock.monotonicMs() + DEAF_TIMEOUT_MS;
    while (this.#clock.monotonicMs() < deadline) {
      const { stdout } = await this.#runner.run(["ss", "-H", "-ltnp"]).catch(() => ({ stdout: "" }));
      const listening = new Set([...stdout.matchAll(/pid=(\d+)/g)].map(([, pid]) => Number(pid)));
      if (!pids.some((pid) => listening.has(pid))) return;
      await this.#clock.sleep(STOP_POLL_MS);
    }
  }

  async #check(file: string): Promise<void> {
    const argv = [this.#program, "-c", "-f", file];
    const result = await this.#runner.run(argv, { timeoutMs: START_TIMEOUT_MS, okCodes: [0, 1] });
    if (result.code === 0) return;
    throw new AppError(
      "invalid",
      `Cannot load the ingress configuration: HAProxy refuses it: ${alerts(result.stderr)}`,
      {
        hint: `Run "${argv.join(" ")}"; the last good configuration keeps running`,
        details: { file },
      },
    );
  }

  async #startError(stderr: string): Promise<AppError> {
    const taken = /cannot bind (?:socket )?\(Address already in use\)[^[]*\[([^\]]*)\]/.exec(stderr)?.[1];
    if (taken === undefined) {
      return new AppError("unavailable", `Cannot start HAProxy: ${alerts(stderr)}`, { details: { reason: "start" } });
    }
    const port = taken.slice(taken.lastIndexOf(":") + 1);
    const holder = await this.#portHolder(port);
    return new AppError("conflict", `Cannot start HAProxy: port ${port} is taken by ${holder ?? "another program"}`, {
      hint: `Find it with "ss -ltnp sport = :${port}" and stop it, or give the ingress another port`,
      details: { reason: "port-taken", port, holder: holder ?? "" },
    });
  }

  /** Best effort: "nginx (pid 123)", or null when it cannot be told, as for a program in another PID namespace. */
  async #portHolder(port: string): Promise<string | null> {
    const found = await this.#runner
      .run(["ss", "-H", "-ltnp", "sport", "=", `:${port}`])
      .catch((): { readonly stdout: string } => ({ stdout: "" }));
    const match = /users:\(\("([^"]+)",pid=(\d+)/.exec(found.stdout);
    return match === null ? null : `${match[1]} (pid ${match[2]})`;
  }

  async #save(what: { readonly text: string; readonly map: Readonly<Record<string, string>> }): Promise<void> {
    await mkdir(dirname(this.#paths.config), { recursive: true, mode: 0o755 });
    await replaceFile(this.#paths.map, renderMap(what.map));
    await replaceFile(this.#paths.config, what.text);
  }

  async #readSaved(): Promise<ProxyState["saved"]> {
    const [text, map] = await Promise.all([readText(this.#paths.config), readText(this.#paths.map)]);
    return text === null || map === null ? null : { text, map: parseMap(map, "file") };
  }

  /** `set map` only changes, `add map` would make a second entry beside the first. */
  async #putMap(key: string, value: string): Promise<void> {
    const answer = await this.#ask(`set map ${this.#paths.map} ${key} ${value}`);
    if (answer.includes("entry not found")) await this.#expect(`add map ${this.#paths.map} ${key} ${value}`, "");
    else if (answer !== "") throw refusal(`set map ${key}`, answer);
  }

  async #expect(command: string, answer: string): Promise<void> {
    const got = await this.#ask(command);
    if (got !== answer) throw refusal(command, got);
  }

  async #ask(command: string): Promise<string> {
    return (await askAdminSocket(this.#paths.socket, command)).trim();
  }

  async #info(): Promise<ProxyInfo | null> {
    const [text = ""] = (await this.#answersOf(["show info"])) ?? [];
    return parseInfo(text);
  }

  /**
   * Over one connection: HAProxy ends each answer by an empty line, and none of these has one within. Null when nothing runs. A
   * process that hangs is `unavailable` and left alone: it still holds its connections.
   */
  async #answersOf(questions: readonly string[]): Promise<readonly string[] | null> {
    try {
      const text = await askAdminSocket(this.#paths.socket, questions.join(";"));
      return text.split("\n\n").map((answer) => answer.trim());
    } catch (error) {
      if (error instanceof AppError && error.code === "not-found") return null;
      throw error;
    }
  }

  /** Processes of ours: the one that answers, and one that lost its socket but still holds the ports. */
  async #ownPids(): Promise<readonly number[]> {
    const info = await this.#info().catch(() => null);
    const written = ((await readText(this.#paths.pid)) ?? "").split("\n").map(Number);
    const pids = [...new Set([...(info === null ? [] : [info.pid]), ...written.filter((pid) => pid > 0)])];
    const ours = await Promise.all(pids.map((pid) => this.#isOurs(pid)));
    return pids.filter((_, index) => ours[index] === true);
  }

  /** A pid may belong to somebody else by now: only a process started with our file is ours. */
  async #isOurs(pid: number): Promise<boolean> {
    const argv = ((await readText(`/proc/${pid}/cmdline`)) ?? "").split("\0");
    return argv.includes(this.#paths.config);
  }
}

function refusal(command: string, answer: string): AppError {
  const code = /no such|not found|unknown|can't find|require/i.test(answer) ? "not-found" : "conflict";
  return new AppError(code, `Cannot change HAProxy: "${command}" is refused: ${answer}`, { details: { command } });
}

/** The lines of HAProxy's output that say what is wrong. */
function alerts(stderr: string): string {
  const lines = stderr.split("\n").filter((line) => line.startsWith("[ALERT]"));
  const texts = lines.map((line) => line.replace(/^\[ALERT\]\s*\(\d+\)\s*:\s*/, "").trim());
  return texts.join("; ") || stderr.trim() || "it gave no reason";
}

function signalProcess(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended in between, which is what was wanted.
  }
}

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isGone(error)) return null;
    throw new AppError("unavailable", `Cannot read ${path}`, { cause: error });
  }
}

/** ESRCH is what /proc says of a process that ends while it is read. */
function isGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH");
}

async function replaceFile(path: string, text: string): Promise<void> {
  const fresh = `${path}.tmp`;
  await writeFile(fresh, text, { mode: 0o644 });
  await rename(fresh, path);
}
