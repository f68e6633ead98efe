import { readFileSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { AppError } from "../model/error.ts";
import { labPaths } from "./lab-paths.ts";
import { SERVER_NODE } from "./lab-plan.ts";
import type { LabNode } from "./lab-plan.ts";
import { processOf } from "./lab-state.ts";
import { withLogTail } from "./log-tail.ts";
import { execInHost, startDaemon, writeInNode } from "./node-command.ts";
import { listInNamespace } from "./process-table.ts";
import { waitFor } from "./wait-for.ts";
import type { WaitOptions } from "./wait-for.ts";

const TOKEN_FILE = "/tmp/join-token";
export const DATA_DIR = "/var/lib/apollo";
export const SERVER_PORT = 8443;

const SERVER_TIMEOUT_MS = 30_000;
/** A daemon that was just started may not be the program yet: only one that stays away has ended. */
const MISSED_MAX = 3;
const JOIN_TIMEOUT_MS = 60_000;

export type WaitHooks = Pick<WaitOptions, "signal" | "onProgress">;

/** What the server leaves in its data directory for the one who administers it. */
export interface AdminConfig {
  readonly url: string;
  readonly token: string;
  /** PEM text. */
  readonly ca: string;
}

const adminConfig = z.object({ url: z.string(), token: z.string(), ca: z.string() });

/** Reads the text of an admin.json. @throws AppError `invalid`. */
export function parseAdminConfig(text: string): AdminConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new AppError("invalid", "Cannot read admin.json: it is not JSON", { cause });
  }
  const result = adminConfig.safeParse(value);
  if (!result.success) throw new AppError("invalid", `Cannot read admin.json: ${result.error.issues[0]?.message}`);
  return result.data;
}

/** Starts the server on its node and waits until it answers there; returns its own admin.json. */
export async function startServer(
  lab: string,
  node: LabNode,
  { args = [], ...hooks }: WaitHooks & { readonly args?: readonly string[] } = {},
): Promise<AdminConfig> {
  const argv = ["apollo", "server", "--data-dir", DATA_DIR, "--advertise", node.address, ...args];
  const disk = labPaths(lab).node(node.name).apollo;
  const url = `https://127.0.0.1:${SERVER_PORT}/api/info`;
  return withLogTail(
    lab,
    () => [`${node.name}-apollo`],
    async () => {
      await startDaemon(lab, node.name, { log: "apollo", argv });
      let missed = 0;
      const state = await waitFor<"up" | "ended">(
        async () => {
          // Whether it is the right server is settled later, by its key; this only asks whether it is there.
          if ((await execInHost(lab, node.name, ["curl", "-skf", "-m", "2", url])).code === 0) return "up";
          missed = isRunning(lab, node.name) ? 0 : missed + 1;
          return missed > MISSED_MAX ? "ended" : null;
        },
        { what: "the server", timeoutMs: SERVER_TIMEOUT_MS, ...hooks },
      );
      if (state === "ended") throw new AppError("unavailable", "Cannot start the server: it ended by itself");
      return waitFor(() => Promise.resolve(parseAdminConfig(readDisk(`${disk}/admin.json`))), {
        what: "the server's admin.json",
        timeoutMs: SERVER_TIMEOUT_MS,
        ...hooks,
      });
    },
  );
}

/** True while a server or agent runs on the node. */
export function isRunning(lab: string, node: string): boolean {
  return listInNamespace(processOf(lab, node)).some(({ argv }) => argv[0]?.split("/").at(-1) === "apollo");
}

export function readJoinToken(lab: string): string {
  return readDisk(`${labPaths(lab).node(SERVER_NODE).apollo}/join-token`).trim();
}

/** Starts the agent of a host. With a token it joins first; a host that has joined before needs none. */
export async function startAgent(
  lab: string,
  node: LabNode,
  server: { readonly address: string; readonly token: string | null },
): Promise<void> {
  // Not as an argument: the argv of a process is everyone's to read.
  if (server.token !== null) writeInNode(lab, node.name, TOKEN_FILE, server.token);
  const join = server.token === null ? [] : ["--token-file", TOKEN_FILE];
  const url = `https://${server.address}:${SERVER_PORT}`;
  const argv = ["apollo", "agent", "--server", url, ...join, "--name", node.name, "--data-dir", DATA_DIR];
  await startDaemon(lab, node.name, { log: "apollo", argv });
}

/** Waits until the server says that every one of these hosts is up. */
export async function awaitHosts(
  lab: string,
  admin: AdminConfig,
  names: readonly string[],
  hooks: WaitHooks = {},
): Promise<void> {
  const argv = ["curl", "-skf", "-m", "3", "-K", "-", `https://127.0.0.1:${SERVER_PORT}/api/hosts`];
  // The token goes in by standard input: the argv of a process is everyone's to read.
  const stdin = `header = "Authorization: Bearer ${admin.token}"\n`;
  const schema = z.array(z.object({ name: z.string(), phase: z.string() }));
  let missing = names;
  let missed = 0;
  await withLogTail(
    lab,
    () => missing.map((name) => `${name}-apollo`),
    async () => {
      const dead = await waitFor<readonly string[]>(
        async () => {
          const { code, stdout } = await execInHost(lab, SERVER_NODE, argv, { stdin });
          if (code !== 0) throw new AppError("unavailable", `the server does not list hosts (curl exit code ${code})`);
          const up = schema.parse(JSON.parse(stdout)).flatMap((host) => (host.phase === "up" ? [host.name] : []));
          missing = names.filter((name) => !up.includes(name));
          const ended = missing.filter((name) => !isRunning(lab, name));
          missed = ended.length === 0 ? 0 : missed + 1;
          if (missing.length === 0 || missed > MISSED_MAX) return ended;
          throw new AppError("unavailable", `${missing.join(", ")} not up`);
        },
        { what: `${names.length} hosts to be up`, timeoutMs: JOIN_TIMEOUT_MS, intervalMs: 200, ...hooks },
      );
      missing = dead;
      if (dead.length > 0)
        throw new AppError("unavailable", `Cannot start the agent of ${dead.join(", ")}: it ended by itself`);
    },
  );
}

/** The admin.json for the machine: the same server by a loopback port. */
export function writeAdminConfig(lab: string, admin: AdminConfig, localPort: number): void {
  const config: AdminConfig = { ...admin, url: `https://127.0.0.1:${localPort}` };
  writeFileSync(labPaths(lab).adminConfig, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}

function readDisk(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new AppError("unavailable", `${path} is not there yet`, { cause });
  }
}
