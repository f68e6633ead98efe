import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { makeRange6 } from "../network/address6.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { systemRandom } from "../platform/clock/system-random.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import { pinoLog } from "../platform/log/pino-log.ts";
import { SqliteStore } from "../platform/sqlite/sqlite-store.ts";
import {
  makeServerConfig,
  parseServerFile,
  readServerEnvironment,
  type ServerConfig,
  type ServerSettingsInput,
} from "./server-config.ts";
import { type ServerAdapters, type StartedServer, startServer } from "./start-server.ts";

export type ServerFlags = ServerSettingsInput & { readonly config?: string | undefined };

/** Requests under way get this long to end. */
const CLOSE_GRACE_MS = 3000;
const DEFAULT_FILE = "/etc/apollo/server.toml";

export function loadServerConfig(flags: ServerFlags, version: string): ServerConfig {
  const path = flags.config ?? DEFAULT_FILE;
  const given = flags.config !== undefined || existsSync(path);
  const file = given ? parseServerFile(Bun.TOML.parse(readFileSync(path, "utf8")), path) : {};
  const { config: _, ...rest } = flags;
  return makeServerConfig([file, readServerEnvironment(process.env), rest], {
    version,
    ownAddress: ownAddress(),
    newRange6: makeRange6(Buffer.from(systemRandom.secret(5), "base64url")),
  });
}

/** Opens the store, starts a server on it and gives it back with what ends it. */
export async function openServer(
  config: ServerConfig,
  signal: AbortSignal,
  around: Pick<ServerAdapters, "leave" | "around" | "scripts"> = {},
): Promise<StartedServer & { close(): Promise<void> }> {
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
  const store = SqliteStore.open(join(config.dataDir, "state.db"));
  const log = pinoLog({ name: "server", level: "info" });
  const adapters = { store, clock: systemClock, random: systemRandom, digest: nodeDigest, log, ...around };
  const started = await startServer(config, adapters, signal);
  const close = async (): Promise<void> => {
    await started.http.close(CLOSE_GRACE_MS);
    await started.done;
    await store.close();
  };
  return { ...started, close };
}

/** `apollo server`: runs until `signal` aborts. */
export async function runServer(flags: ServerFlags, signal: AbortSignal, version: string): Promise<void> {
  const server = await openServer(loadServerConfig(flags, version), signal);
  console.error(
    `Apollo ${version} serves ${server.url} (console: ${server.url}/ui/). Admin token: ${server.adminFile}`,
  );
  await server.done;
  await server.close();
}

function ownAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const own = all.filter((each) => !each.internal);
  const found =
    own.find((each) => each.family === "IPv4") ??
    own.find((each) => each.family === "IPv6" && !/^fe[89ab]/i.test(each.address));
  return found?.address ?? "127.0.0.1";
}
