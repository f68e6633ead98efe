/** Whose scripts a process of `apollo discovery agent` takes and runs as checks. */
import { AppError } from "../model/error.ts";
import type { ScriptChecks } from "../model/host-check.ts";
import type { HttpRequest } from "../platform/ports/http.ts";
import type { Definition, DiscoveryConfig, DiscoveryFile } from "./discovery-config.ts";

/**
 * On requests that register what is in this process's own files. It only tells what to say: who else sends it has a check taken
 * that is then not run, see `localScripts`.
 */
export const OWN_DEFINITION = { "x-apollo-own-definition": "1" } as const;

/** What a request of this node's clients may register. */
export function scriptsOf({ scripts }: Pick<DiscoveryConfig, "scripts">): (request: HttpRequest) => ScriptChecks {
  return (request) => {
    const isOwn = Object.keys(OWN_DEFINITION).some((name) => request.header(name) !== null);
    return scripts === "local" && isOwn ? "all" : scripts;
  };
}

/** Which scripts this process may run: all, those of its own files, or none. */
export function localScripts(
  config: Pick<DiscoveryConfig, "scripts" | "services" | "checks">,
): (argv: readonly string[]) => boolean {
  if (config.scripts !== "local") return () => config.scripts === "all";
  const known = new Set<string>();
  const collect = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    for (const [key, each] of Object.entries(value)) {
      if (key.toLowerCase() === "args" && Array.isArray(each)) known.add(JSON.stringify(each));
      else collect(each);
    }
  };
  for (const each of [...config.services, ...config.checks]) collect(each);
  return (argv) => known.has(JSON.stringify(argv));
}

/** A file with its name. */
export interface NamedFile {
  readonly path: string;
  readonly file: DiscoveryFile;
}

/** Scripts of files need a flag, too. @throws AppError `invalid` that names the first one's file and field. */
export function refuseFileScripts(files: readonly NamedFile[], { scripts }: Pick<DiscoveryConfig, "scripts">): void {
  if (scripts !== "off") return;
  for (const { path, file } of files) {
    const field = scriptIn(file);
    if (field === null) continue;
    throw new AppError("invalid", `Cannot use "${path}": ${field} is a script, and scripts are disabled`, {
      hint: "Set enable_local_script_checks = true, or start with --enable-local-script-checks",
    });
  }
}

function scriptIn(file: DiscoveryFile): string | null {
  const { service, services = [], check, checks = [] } = file;
  const inServices = [
    ...(service === undefined ? [] : [{ where: "service", value: service }]),
    ...services.map((value, at) => ({ where: `services[${at}]`, value })),
  ].flatMap(({ where, value }) => checksOf(where, value));
  const alone = [
    ...(check === undefined ? [] : [{ where: "check", value: check }]),
    ...checks.map((value, at) => ({ where: `checks[${at}]`, value })),
  ];
  return [...inServices, ...alone].map(scriptField).find((found) => found !== null) ?? null;
}

interface Placed {
  readonly where: string;
  readonly value: unknown;
}

function checksOf(where: string, service: Definition): readonly Placed[] {
  return Object.entries(service).flatMap(([key, value]): readonly Placed[] => {
    const name = fold(key);
    if (name === "check") return [{ where: `${where}.${key}`, value }];
    if (name !== "checks" || !Array.isArray(value)) return [];
    return value.map((each: unknown, at) => ({ where: `${where}.${key}[${at}]`, value: each }));
  });
}

/** As the API tells a script: with arguments, or a container that they run in. */
function scriptField({ where, value }: Placed): string | null {
  if (typeof value !== "object" || value === null) return null;
  const found = Object.entries(value).find(
    ([key, each]) =>
      (fold(key) === "args" && Array.isArray(each) && each.length > 0) ||
      (fold(key) === "dockercontainerid" && typeof each === "string" && each !== ""),
  );
  return found === undefined ? null : `${where}.${found[0]}`;
}

/** Field names count in any case, and underscores do not count. */
function fold(key: string): string {
  return key.toLowerCase().replaceAll("_", "");
}
