import type { AppSpec } from "../model/app.ts";
import { LABEL_APP, LABEL_INSTANCE, LABEL_VERSION } from "../model/container.ts";
import type { Container } from "../model/container.ts";
import type { InstanceId } from "../model/ids.ts";
import type { Assignment } from "../model/instance.ts";
import type { Ipv4 } from "../model/ip.ts";
import { type Ipv6, parseCidr6 } from "../model/ip6.ts";
import { address6Of } from "../network/address6.ts";
import type { ContainerSpec } from "../platform/ports/engine.ts";
import { instanceEnv } from "./instance-env.ts";

/** Where a new container goes. */
export interface Placement {
  readonly hostName: string;
  /** Engine network, or "host". */
  readonly network: string;
  /** Null: the engine chooses. */
  readonly address: Ipv4 | null;
  /** The part of the IPv6 range that its other address is of; null or missing: it has none. */
  readonly host6?: string | null;
  /** Answers DNS on this host; null where the host's own resolver is used. */
  readonly gateway: Ipv4 | null;
  readonly dnsDomain: string;
}

const NAME_LENGTH_MAX = 200;

/** The container of an instance. Names are unique in the engine, so that there can never be two. */
export function containerName(id: InstanceId): string {
  const safe = id.replaceAll(/[^a-zA-Z0-9_.-]/g, "_").slice(-NAME_LENGTH_MAX);
  return /^[a-zA-Z0-9]/.test(safe) ? safe : `i${safe}`;
}

/**
 * The instance that a container of ours runs, or null. The label alone would not do: an image made from an instance's
 * container carries its labels, and so would what a user starts from that image.
 */
export function instanceOf(container: Container): InstanceId | null {
  const id = container.labels[LABEL_INSTANCE] as InstanceId | undefined;
  return id !== undefined && container.name === containerName(id) ? id : null;
}

/** What the engine is asked to make for an instance. */
export function instanceContainer(assignment: Assignment, placement: Placement): ContainerSpec {
  const { instance, spec } = assignment;
  const onHost = placement.network === "host";
  return {
    name: containerName(instance.id),
    image: spec.image,
    ...command(spec),
    env: instanceEnv(assignment, placement.hostName),
    labels: {
      ...spec.labels,
      MESOS_TASK_ID: instance.id,
      [LABEL_INSTANCE]: instance.id,
      [LABEL_APP]: spec.id,
      [LABEL_VERSION]: instance.version,
    },
    user: spec.user,
    tty: spec.tty,
    privileged: spec.privileged,
    cpus: spec.cpus,
    memoryBytes: Math.round(spec.memoryMiB * 1024 * 1024),
    hostname: null,
    network: placement.network,
    address: onHost ? null : placement.address,
    address6: onHost ? null : address6(placement),
    dns: onHost || placement.gateway === null ? [] : [placement.gateway],
    dnsSearch: onHost ? [] : [`service.${placement.dnsDomain}`],
    exposedPorts: onHost ? [] : spec.ports.map(({ containerPort, protocol }) => ({ port: containerPort, protocol })),
    publish: onHost
      ? []
      : spec.ports.flatMap(({ containerPort, protocol, hostPort }) =>
          hostPort === null ? [] : [{ port: containerPort, protocol, hostPort }],
        ),
    mounts: spec.volumes,
    stopGraceMs: spec.stopGraceMs,
    // Until it has run for a while; see docs/adr/0010-restart-policy.md.
    restart: "no",
  };
}

/** It follows from the IPv4 one, so it is kept as long as that. */
function address6({ address, host6 = null }: Placement): Ipv6 | null {
  return address === null || host6 === null ? null : address6Of(parseCidr6(host6), address);
}

/** A Marathon `cmd` runs in the image's shell, whatever the entrypoint; `args` go to the entrypoint. */
function command(spec: AppSpec): Pick<ContainerSpec, "argv" | "entrypoint"> {
  if (spec.argv === null || !spec.shell) return { argv: spec.argv, entrypoint: null };
  const script = spec.argv[0] === "/bin/sh" && spec.argv[1] === "-c" ? spec.argv.slice(2) : spec.argv;
  return { argv: ["-c", ...script], entrypoint: ["/bin/sh"] };
}
