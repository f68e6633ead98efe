/** `apollo discovery agent`: service discovery alone, as Consul's agent, without root and without containers. */
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { homedir, hostname } from "node:os";
import { join } from "node:path";
import { AppError, describeError } from "../model/error.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { claimLock } from "../platform/files/process-lock.ts";
import { pinoLog } from "../platform/log/pino-log.ts";
import {
  type DiscoveryConfig,
  type DiscoveryFlags,
  makeDiscoveryConfig,
  parseDiscoveryFile,
} from "./discovery-config.ts";
import { runDiscovery } from "./run-discovery.ts";
import { refuseFileScripts } from "./script-rules.ts";

/** Runs until `signal` aborts or the node is told to leave. */
export async function runDiscoveryAgent(flags: DiscoveryFlags, signal: AbortSignal, version: string): Promise<void> {
  const startedMs = systemClock.monotonicMs();
  const config = loadConfig(flags);
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
  const lock = claimLock(join(config.dataDir, "agent.pid"));
  if (lock.kind !== "claimed") {
    throw new AppError("conflict", `Cannot start in "${config.dataDir}": another process uses it (pid ${lock.pid})`, {
      hint: "Give each process its own --data-dir",
    });
  }
  const log = pinoLog({ name: "apollo-discovery", level: config.logLevel });
  try {
    await runDiscovery(config, { version, log, startedMs }, signal);
  } finally {
    lock.release();
  }
}

function loadConfig(flags: DiscoveryFlags): DiscoveryConfig {
  const paths = [...(flags.configFile ?? []), ...(flags.configDir ?? []).flatMap(filesIn)];
  const files = paths.map((path) => ({ path, file: parseDiscoveryFile(readText(path), path) }));
  const token = flags.token ?? process.env["APOLLO_TOKEN"];
  const fromFile = flags.tokenFile === undefined ? token : readText(flags.tokenFile).trim();
  const { token: _, ...rest } = flags;
  const given = fromFile === undefined ? rest : { ...rest, token: fromFile };
  const machine = { hostName: hostname(), homeDir: homedir() };
  const config = makeDiscoveryConfig(
    files.map(({ file }) => file),
    given,
    machine,
  );
  refuseFileScripts(files, config);
  return config;
}

/** In the order of their names, as Consul reads them. */
function filesIn(directory: string): readonly string[] {
  if (!existsSync(directory)) throw new AppError("invalid", `Cannot read directory "${directory}": it is not there`);
  return readdirSync(directory)
    .filter((name) => name.endsWith(".json") || name.endsWith(".hcl"))
    .toSorted()
    .map((name) => join(directory, name));
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new AppError("invalid", `Cannot read "${path}": ${describeError(cause)}`, { cause });
  }
}
