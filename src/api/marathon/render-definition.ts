import type { AppSpec, HealthCheck, PortSpec } from "../../model/app.ts";

/** A JSON object of our making. */
export type Json = Readonly<Record<string, unknown>>;

/**
 * An app in Marathon's present form, all fields, nothing twice: `parseApp(renderDefinition(spec))` gives `spec` again.
 * `cmd`, `args` and `user` are null when not set, as Marathon had it before 1.5.
 */
export function renderDefinition(spec: AppSpec): Json {
  const onHost = spec.network === "host";
  const ports = spec.ports.map(onHost ? renderPortDefinition : renderPortMapping);
  const [, , cmd = null] = spec.shell ? (spec.argv ?? []) : [];
  return {
    id: spec.id,
    cmd,
    args: spec.shell ? null : spec.argv,
    user: spec.user,
    env: spec.env,
    instances: spec.instances,
    cpus: spec.cpus,
    mem: spec.memoryMiB,
    disk: spec.diskMiB,
    gpus: 0,
    executor: "",
    constraints: spec.constraints.map(({ field, operator, value }) =>
      value === null ? [field, operator] : [field, operator, value],
    ),
    fetch: [],
    backoffSeconds: spec.backoff.initialMs / 1000,
    backoffFactor: spec.backoff.factor,
    maxLaunchDelaySeconds: spec.backoff.maxMs / 1000,
    container: {
      type: "DOCKER",
      docker: { image: spec.image, forcePullImage: spec.forcePull, privileged: spec.privileged, parameters: [] },
      volumes: spec.volumes.map(({ containerPath, hostPath, readOnly }) => ({
        containerPath,
        hostPath,
        mode: readOnly ? "RO" : "RW",
      })),
      ...(onHost ? {} : { portMappings: ports }),
    },
    networks: onHost ? [{ mode: "host" }] : [{ mode: "container", name: spec.network, ...fixedAddresses(spec) }],
    ...(onHost ? { portDefinitions: ports } : {}),
    requirePorts: onHost && ports.length > 0,
    healthChecks: spec.healthChecks.map(renderHealthCheck),
    readinessChecks: [],
    dependencies: spec.dependencies,
    upgradeStrategy: spec.upgrade,
    labels: spec.labels,
    killSelection: spec.killSelection,
    unreachableStrategy: { inactiveAfterSeconds: 0, expungeAfterSeconds: 0 },
    taskKillGracePeriodSeconds: spec.stopGraceMs / 1000,
    tty: spec.tty,
  };
}

/** Left out without any, so that clients of Marathon see what they know. */
function fixedAddresses({ addresses = [] }: AppSpec): { readonly addresses?: readonly string[] } {
  return addresses.length === 0 ? {} : { addresses };
}

function renderPortMapping(port: PortSpec): Json {
  const { containerPort, hostPort, servicePort, protocol, name, labels } = port;
  return {
    containerPort,
    // Marathon leaves out the host port of a port that is not published.
    ...(hostPort === null ? {} : { hostPort }),
    servicePort,
    protocol,
    ...(name === null ? {} : { name }),
    labels,
  };
}

function renderPortDefinition({ containerPort, protocol, name, labels }: PortSpec): Json {
  return { port: containerPort, protocol, ...(name === null ? {} : { name }), labels };
}

function renderHealthCheck(check: HealthCheck): Json {
  const timing = {
    gracePeriodSeconds: check.gracePeriodMs / 1000,
    intervalSeconds: check.intervalMs / 1000,
    timeoutSeconds: check.timeoutMs / 1000,
    maxConsecutiveFailures: check.maxConsecutiveFailures,
  };
  if (check.kind === "command") {
    const [, , value = ""] = check.argv;
    return { protocol: "COMMAND", command: { value }, ...timing };
  }
  const target = check.port === null ? { portIndex: check.portIndex ?? 0 } : { port: check.port };
  if (check.kind === "tcp") return { protocol: "TCP", ...target, ...timing };
  const { path, ignoreHttp1xx } = check;
  return { protocol: check.kind.toUpperCase(), path, ...target, ignoreHttp1xx, ...timing };
}
