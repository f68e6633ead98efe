/**
 * Every field that a Marathon app may have, and what becomes of it here. A field that would change what the app does
 * and that we cannot honour is refused with the reason; one that makes no difference is let through; one that nobody
 * knows is refused with the nearest name, because a typing error in an optional field is otherwise found in production.
 */
import { isObject, type JsonObject } from "../read-json.ts";
import { nearestName } from "../nearest-name.ts";

/** `used`; `read-only`: in our own answers, so that what was got can be put; else let through while `harmless`. */
type FieldRule = "used" | "read-only" | { readonly harmless: (value: unknown) => boolean; readonly why: string };

const always = (): boolean => true;

/** What clients send when they mean "no such thing". */
function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (isObject(value)) return Object.keys(value).length === 0;
  return value === null || value === "" || value === 0 || value === false;
}

const refused = (why: string): FieldRule => ({ harmless: isEmpty, why });
const ignored: FieldRule = { harmless: always, why: "" };
const anyRole: FieldRule = {
  harmless: (value) => isEmpty(value) || value === "*" || (Array.isArray(value) && value.every((role) => role === "*")),
  why: "roles are not supported: hosts have no roles; use constraints on host labels",
};

const used = (...names: readonly string[]): Record<string, FieldRule> =>
  Object.fromEntries(names.map((name) => [name, "used"]));
const readOnly = (...names: readonly string[]): Record<string, FieldRule> =>
  Object.fromEntries(names.map((name) => [name, "read-only"]));

const fetchRule = refused("fetching files is not supported: put them into the image");

const FIELDS = {
  app: {
    ...used(
      "id",
      "cmd",
      "args",
      "user",
      "env",
      "instances",
      "cpus",
      "mem",
      "disk",
      "container",
      "networks",
      "ipAddress",
    ),
    ...used("ports", "portDefinitions", "requirePorts", "constraints", "labels", "healthChecks", "upgradeStrategy"),
    ...used("backoffSeconds", "backoffFactor", "maxLaunchDelaySeconds", "killSelection", "dependencies"),
    ...used("taskKillGracePeriodSeconds", "tty"),
    ...readOnly("version", "versionInfo", "tasks", "tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy"),
    ...readOnly("deployments", "lastTaskFailure", "taskStats", "tasksStats", "readinessCheckResults"),
    executor: refused("executors are not supported: containers are run by the engine"),
    executorResources: ignored,
    gpus: refused("GPUs are not supported"),
    fetch: fetchRule,
    uris: fetchRule,
    storeUrls: fetchRule,
    secrets: refused("secrets are not supported: use env"),
    readinessChecks: refused("readiness checks are not supported: use a health check"),
    check: refused("checks are not supported: use a health check"),
    residency: refused("resident apps are not supported"),
    resourceLimits: refused("limits other than the resources themselves are not supported"),
    acceptedResourceRoles: anyRole,
    role: anyRole,
    // Times at which a lost host's instances are replaced; ours come from the hosts' heartbeats. Never is another matter.
    unreachableStrategy: {
      harmless: isObject,
      why: '"disabled" is not supported: instances of a lost host are always replaced',
    },
  },
  container: {
    ...used("type", "docker", "volumes", "portMappings"),
    linuxInfo: refused("linuxInfo is not supported"),
  },
  docker: {
    ...used("image", "forcePullImage", "privileged", "network", "portMappings"),
    parameters: refused("arbitrary engine parameters are not supported"),
    pullConfig: refused("pull secrets are not supported: log the hosts' engines in to the registry"),
    credential: refused("credentials are not supported: log the hosts' engines in to the registry"),
  },
  portMapping: used("containerPort", "hostPort", "servicePort", "protocol", "name", "labels", "networkNames"),
  portDefinition: used("port", "protocol", "name", "labels"),
  volume: {
    ...used("containerPath", "hostPath", "mode"),
    persistent: refused("persistent volumes are not supported: use a hostPath with a constraint"),
    external: refused("external volumes are not supported: use a hostPath with a constraint"),
    secret: refused("secrets are not supported"),
  },
  network: { ...used("mode", "name", "addresses"), labels: ignored },
  ipAddress: { ...used("networkName"), groups: ignored, labels: ignored, discovery: ignored },
  healthCheck: {
    ...used(
      "protocol",
      "path",
      "port",
      "portIndex",
      "command",
      "gracePeriodSeconds",
      "intervalSeconds",
      "timeoutSeconds",
    ),
    ...used("maxConsecutiveFailures", "ignoreHttp1xx"),
    // Mesos waits so long before the first check; the grace period covers the same time.
    delaySeconds: ignored,
    ipProtocol: { harmless: (value) => value === "IPv4", why: "IPv6 is not supported" },
  },
  command: used("value"),
  upgradeStrategy: used("minimumHealthCapacity", "maximumOverCapacity"),
} satisfies Record<string, Record<string, FieldRule>>;

export type FieldTable = keyof typeof FIELDS;

/** Where people of other tools put things. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  image: "container.docker.image",
  memory: "mem",
  cpu: "cpus",
  environment: "env",
  replicas: "instances",
  command: "cmd",
  portMappings: "container.portMappings",
  volumes: "container.volumes",
  privileged: "container.docker.privileged",
  forcePullImage: "container.docker.forcePullImage",
};

/** Notes each field of `object` that is unknown or that we cannot honour. */
export function checkFields(object: JsonObject, table: FieldTable): void {
  const rules: Readonly<Record<string, FieldRule>> = FIELDS[table];
  for (const name of object.names()) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) object.issues.sense(object.at(name), unknownField(name, table, Object.keys(rules)));
    else if (typeof rule === "object" && object.has(name) && !rule.harmless(object.raw(name))) {
      object.issues.sense(object.at(name), rule.why);
    }
  }
}

function unknownField(name: string, table: FieldTable, known: readonly string[]): string {
  const elsewhere = table === "app" && Object.hasOwn(ELSEWHERE, name) ? ELSEWHERE[name] : undefined;
  const near = elsewhere ?? nearestName(name, known);
  return near === null ? "is not a known field" : `is not a known field; did you mean "${near}"?`;
}

/** True for fields that only our answers have: a body with one of them was got from us and edited. */
export function isReadOnlyField(name: string): boolean {
  const rules: Readonly<Record<string, FieldRule>> = FIELDS.app;
  return Object.hasOwn(rules, name) && rules[name] === "read-only";
}
