/** A check that its host would never run is refused at once, as Consul refuses it, rather than taken and shown as critical. */
import type { CheckInput } from "../../discovery/registry/catalog-operations.ts";
import { registryError } from "../../discovery/registry/registry-error.ts";
import type { Call } from "./call.ts";

/** A command in a container is a script to Consul, too. */
const SCRIPTS: ReadonlySet<string> = new Set(["script", "docker"]);
const REASONS = {
  off: "Scripts are disabled on this agent; to allow them, start it with --enable-script-checks or set 'enable_script_checks' (APOLLO_SCRIPT_CHECKS=on)",
  local:
    "Scripts are disabled on this agent but for those of its configuration files; to allow those of clients, start it with --enable-script-checks or set 'enable_script_checks'",
} as const;

/** @throws AppError 500 when one of the checks is a script that the host does not run. */
export function refuseScripts({ backend, request }: Call, checks: readonly CheckInput[]): void {
  if (!checks.some(({ type }) => SCRIPTS.has(type))) return;
  const scripts = backend.scripts?.(request) ?? "all";
  if (scripts !== "all") throw registryError(500, REASONS[scripts]);
}
