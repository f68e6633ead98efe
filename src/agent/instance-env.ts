import type { PortSpec } from "../model/app.ts";
import type { Assignment } from "../model/instance.ts";

/** Marathon leaves longer labels out of the environment; Linux would refuse a huge one. */
const LABEL_KEY_LENGTH_MAX = 493;
const LABEL_VALUE_LENGTH_MAX = 512;

/**
 * Environment of an instance: what Marathon injects, under the app's own, which wins. PORTn is the port that others
 * reach the instance on: its container port, or the host port where a fixed one is published.
 */
export function instanceEnv(assignment: Assignment, hostName: string): Readonly<Record<string, string>> {
  const { instance, spec } = assignment;
  const labels = Object.entries(spec.labels)
    .filter(([key, value]) => key.length < LABEL_KEY_LENGTH_MAX && value.length < LABEL_VALUE_LENGTH_MAX)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  return {
    MESOS_TASK_ID: instance.id,
    MARATHON_APP_ID: spec.id,
    MARATHON_APP_VERSION: instance.version,
    MARATHON_APP_DOCKER_IMAGE: spec.image,
    MARATHON_APP_RESOURCE_CPUS: formatDouble(spec.cpus),
    MARATHON_APP_RESOURCE_MEM: formatDouble(spec.memoryMiB),
    MARATHON_APP_RESOURCE_DISK: formatDouble(spec.diskMiB),
    MARATHON_APP_RESOURCE_GPUS: "0",
    MARATHON_APP_ENFORCE_GROUP_ROLE: "false",
    MARATHON_APP_LABELS: labels.map(([key]) => variableName(key)).join(" "),
    ...Object.fromEntries(labels.map(([key, value]) => [`MARATHON_APP_LABEL_${variableName(key)}`, value])),
    HOST: hostName,
    ...portEnv(spec.ports),
    ...spec.env,
  };
}

function portEnv(ports: readonly PortSpec[]): Readonly<Record<string, string>> {
  const env: Record<string, string> = {};
  const numbers = ports.map(reachedPort);
  for (const [index, port] of ports.entries()) {
    const number = numbers[index] ?? port.containerPort;
    env[`PORT${index}`] = String(number);
    env[`PORT_${port.containerPort}`] = String(number);
    if (port.name !== null && port.name !== "") env[`PORT_${variableName(port.name)}`] = String(number);
  }
  if (numbers[0] !== undefined) {
    env["PORT"] = String(numbers[0]);
    env["PORTS"] = numbers.join(",");
  }
  return env;
}

/** A host port of 0 is the engine's choice, made too late to be told to the process. */
function reachedPort(port: PortSpec): number {
  return port.hostPort === null || port.hostPort === 0 ? port.containerPort : port.hostPort;
}

function variableName(text: string): string {
  return text.toUpperCase().replaceAll(/[^A-Z0-9_]+/g, "_");
}

/** Marathon's runtime writes whole numbers with a fraction, and scripts have come to expect it. */
function formatDouble(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
