import {
  DEFAULT_BACKOFF,
  DEFAULT_STOP_GRACE_MS,
  DEFAULT_UPGRADE,
  type AppSpec,
  type Backoff,
  type UpgradeStrategy,
  type VolumeSpec,
} from "../../model/app.ts";
import { AppError } from "../../model/error.ts";
import { parseAppId, type AppId } from "../../model/ids.ts";
import { expectObject, Issues, JsonObject } from "../read-json.ts";
import { checkFields } from "./app-fields.ts";
import { parseConstraints } from "./parse-constraints.ts";
import { parseHealthChecks } from "./parse-health-checks.ts";
import { parsePorts } from "./parse-ports.ts";

const INSTANCES_MAX = 100_000;
/** Larger than any real one: what is above was meant in bytes. */
const MEMORY_MIB_MAX = 64 * 1024 * 1024;
const IMAGE = /^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,1023}$/;
const ENV_NAME = /^[^=\0]{1,1024}$/;
const ABSOLUTE = /^\/[^\0]{0,4095}$/;

/**
 * Reads a Marathon app in any form since 2015 and fills in all defaults. Read-only fields of our own answers are let
 * through, so that what was got can be edited and put.
 * @param id from the URL; it wins over one in the body.
 * @throws AppError `invalid` with every fault by its path.
 */
export function parseApp(value: unknown, id: AppId | null = null): AppSpec {
  const issues = new Issues();
  const app = new JsonObject(expectObject(value), "", issues);
  checkFields(app, "app");
  const spec = readApp(app, id);
  issues.throwIfAny("app definition");
  return spec;
}

function readApp(app: JsonObject, urlId: AppId | null): AppSpec {
  const container = app.object("container");
  const docker = container?.object("docker") ?? null;
  const { network, ports, ...fixed } = parsePorts(app, container, docker);
  const id = urlId ?? readId(app);
  return {
    id,
    instances: readInstances(app),
    cpus: app.number("cpus") ?? 1,
    memoryMiB: readMemory(app, "mem") ?? 128,
    diskMiB: readMemory(app, "disk") ?? 0,
    ...readContainer(app, container, docker),
    ...readCommand(app),
    user: app.string("user"),
    tty: app.boolean("tty") ?? false,
    network,
    ...fixed,
    ports,
    env: readEnv(app),
    labels: app.stringMap("labels"),
    healthChecks: parseHealthChecks(app, ports.length),
    upgrade: readUpgrade(app),
    backoff: readBackoff(app),
    constraints: parseConstraints(app),
    dependencies: readDependencies(app, id),
    killSelection: app.oneOf("killSelection", ["YOUNGEST_FIRST", "OLDEST_FIRST"]) ?? "YOUNGEST_FIRST",
    stopGraceMs: readSeconds(app, "taskKillGracePeriodSeconds") ?? DEFAULT_STOP_GRACE_MS,
  };
}

/** A placeholder after a fault: nothing is made of it, since the faults are thrown at the end. */
const NO_ID = "/" as AppId;

function readId(app: JsonObject): AppId {
  const text = app.needString("id");
  if (text === null) return NO_ID;
  try {
    return parseAppId(text);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    for (const field of error.fields) app.issues.sense(field.path, field.message);
    return NO_ID;
  }
}

function readInstances(app: JsonObject): number {
  const instances = app.integer("instances", 0, INSTANCES_MAX) ?? 1;
  if (isSingle(app) && instances > 1) app.issues.sense("/instances", "Single instance app may only have one instance");
  return instances;
}

function isSingle(app: JsonObject): boolean {
  const labels = app.raw("labels");
  return typeof labels === "object" && labels !== null && "MARATHON_SINGLE_INSTANCE_APP" in labels
    ? labels.MARATHON_SINGLE_INSTANCE_APP === "true"
    : false;
}

function readMemory(app: JsonObject, name: string): number | null {
  const value = app.number(name);
  if (value !== null && value > MEMORY_MIB_MAX) {
    app.issues.sense(app.at(name), `got ${value}, expected MiB, ${MEMORY_MIB_MAX} at most`);
  }
  return value;
}

function readContainer(
  app: JsonObject,
  container: JsonObject | null,
  docker: JsonObject | null,
): Pick<AppSpec, "image" | "forcePull" | "privileged" | "volumes"> {
  if (container !== null) checkFields(container, "container");
  container?.oneOf("type", ["DOCKER", "MESOS"]);
  if (docker !== null) checkFields(docker, "docker");
  return {
    image: readImage(app, container, docker),
    forcePull: docker?.boolean("forcePullImage") ?? false,
    privileged: docker?.boolean("privileged") ?? false,
    volumes: (container?.objects("volumes") ?? []).flatMap((volume) => readVolume(volume) ?? []),
  };
}

function readImage(app: JsonObject, container: JsonObject | null, docker: JsonObject | null): string {
  if (docker === null) {
    const nothing = !app.has("container") && !app.has("cmd") && !app.has("args");
    if (nothing) {
      app.issues.sense("/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.");
    }
    // A docker that is not an object has its fault already; without one there is nothing to run.
    if (container === null ? !app.has("container") : !container.has("docker")) {
      app.issues.sense("/container/docker/image", "is missing: every app runs from an image");
    }
    return "";
  }
  const image = docker.needString("image");
  if (image !== null && !IMAGE.test(image)) {
    app.issues.sense(docker.at("image"), "must be an image such as registry.example.com:5000/name:tag");
  }
  return image ?? "";
}

function readVolume(volume: JsonObject): VolumeSpec | null {
  checkFields(volume, "volume");
  // The other kinds were refused above, and have no hostPath to miss.
  if (["persistent", "external", "secret"].some((kind) => volume.has(kind))) return null;
  const containerPath = volume.needString("containerPath");
  const hostPath = volume.needString("hostPath");
  const mode = volume.has("mode") ? volume.oneOf("mode", ["RO", "RW"]) : "RW";
  for (const [name, path] of [
    ["containerPath", containerPath],
    ["hostPath", hostPath],
  ] as const) {
    // The engine takes a colon for the end of a path.
    if (path !== null && (!ABSOLUTE.test(path) || path.includes(":"))) {
      volume.issues.sense(volume.at(name), "must be an absolute path without colons");
    }
  }
  return containerPath === null || hostPath === null ? null : { containerPath, hostPath, readOnly: mode === "RO" };
}

function readCommand(app: JsonObject): Pick<AppSpec, "argv" | "shell"> {
  const cmd = app.string("cmd");
  const args = app.strings("args");
  if (cmd !== null && args !== null && args.length > 0) {
    app.issues.sense("/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.");
  }
  // marathonctl and go-marathon write "" for an app without a command.
  if (cmd !== null && cmd !== "") return { argv: ["/bin/sh", "-c", cmd], shell: true };
  return { argv: args === null || args.length === 0 ? null : args, shell: false };
}

function readEnv(app: JsonObject): Readonly<Record<string, string>> {
  const env = app.stringMap("env");
  for (const [name, value] of Object.entries(env)) {
    if (!ENV_NAME.test(name)) app.issues.sense(`/env/${name}`, "the name must not be empty nor have = in it");
    if (value.includes("\0")) app.issues.sense(`/env/${name}`, "must not have a zero byte in it");
  }
  return env;
}

function readUpgrade(app: JsonObject): UpgradeStrategy {
  if (isSingle(app)) return { minimumHealthCapacity: 0, maximumOverCapacity: 0 };
  const upgrade = app.object("upgradeStrategy");
  if (upgrade === null) return DEFAULT_UPGRADE;
  checkFields(upgrade, "upgradeStrategy");
  const share = (name: keyof UpgradeStrategy): number => {
    const value = upgrade.number(name, Number.NEGATIVE_INFINITY);
    if (value !== null && value > 1) upgrade.issues.sense(upgrade.at(name), "is greater than 1");
    if (value !== null && value < 0) upgrade.issues.sense(upgrade.at(name), "is less than 0");
    return value ?? DEFAULT_UPGRADE[name];
  };
  return {
    minimumHealthCapacity: share("minimumHealthCapacity"),
    maximumOverCapacity: share("maximumOverCapacity"),
  };
}

function readBackoff(app: JsonObject): Backoff {
  return {
    initialMs: readSeconds(app, "backoffSeconds") ?? DEFAULT_BACKOFF.initialMs,
    factor: app.number("backoffFactor", 1) ?? DEFAULT_BACKOFF.factor,
    maxMs: readSeconds(app, "maxLaunchDelaySeconds") ?? DEFAULT_BACKOFF.maxMs,
  };
}

function readSeconds(app: JsonObject, name: string): number | null {
  const seconds = app.number(name);
  return seconds === null ? null : Math.round(seconds * 1000);
}

/** Ids relative to the group that the app is in: "db", "../db". */
function readDependencies(app: JsonObject, id: AppId): readonly AppId[] {
  const group = id.split("/").slice(1, -1);
  return (app.strings("dependencies") ?? []).flatMap((text, index) => {
    const path = `/dependencies(${index})`;
    const segments = text.startsWith("/") ? [] : [...group];
    for (const segment of text.split("/")) {
      if (segment === "..") segments.pop();
      else if (segment !== "" && segment !== ".") segments.push(segment);
    }
    try {
      const dependency = parseAppId(segments.join("/"));
      if (dependency === id) app.issues.sense(path, "Dependency graph has cyclic dependencies.");
      return [dependency];
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      app.issues.sense(path, error.fields[0]?.message ?? error.message);
      return [];
    }
  });
}
