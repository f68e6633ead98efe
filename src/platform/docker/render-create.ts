import { cidrAddress, cidrSize, parseCidr } from "../../model/ip.ts";
import type { ContainerSpec, EngineNetworkSpec } from "../ports/engine.ts";

/** Docker refuses a memory limit below 6 MiB; an app that asks for less gets that much. */
const MEMORY_BYTES_MIN = 6 * 1024 * 1024;
/** What one core weighs in the kernel's CPU shares; 2 is the least it takes. */
const SHARES_PER_CPU = 1024;
const SHARES_MIN = 2;

/**
 * Body of `POST /containers/create`. Cores are a weight, not a ceiling, as in Mesos: a container may use what the host
 * has idle, and gets its part when the host is busy.
 */
export function renderCreate(spec: ContainerSpec): Readonly<Record<string, unknown>> {
  const exposed = [...spec.exposedPorts, ...spec.publish].map(
    ({ port, protocol }) => [`${port}/${protocol}`, {}] as const,
  );
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const { port, protocol, hostPort } of spec.publish) {
    const list = (bindings[`${port}/${protocol}`] ??= []);
    list.push({ HostIp: "", HostPort: hostPort === 0 ? "" : String(hostPort) });
  }
  return {
    Image: spec.image,
    ...(spec.argv === null ? {} : { Cmd: spec.argv }),
    // Docker takes [""] for "no entrypoint"; an empty list keeps the image's.
    ...(spec.entrypoint === null ? {} : { Entrypoint: spec.entrypoint.length === 0 ? [""] : spec.entrypoint }),
    Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
    Labels: spec.labels,
    Tty: spec.tty,
    ...(spec.user === null ? {} : { User: spec.user }),
    ...(spec.hostname === null ? {} : { Hostname: spec.hostname }),
    ExposedPorts: Object.fromEntries(exposed),
    StopTimeout: Math.ceil(spec.stopGraceMs / 1000),
    HostConfig: {
      NetworkMode: spec.network,
      RestartPolicy: { Name: spec.restart, MaximumRetryCount: 0 },
      Privileged: spec.privileged,
      CpuShares: Math.max(SHARES_MIN, Math.round(spec.cpus * SHARES_PER_CPU)),
      Memory: spec.memoryBytes === 0 ? 0 : Math.max(MEMORY_BYTES_MIN, spec.memoryBytes),
      PortBindings: bindings,
      // Binds make a missing directory on the host, as Marathon's users expect; Mounts would refuse it.
      Binds: spec.mounts.map((mount) => `${mount.hostPath}:${mount.containerPath}:${mount.readOnly ? "ro" : "rw"}`),
      ...(spec.dns.length === 0 ? {} : { Dns: spec.dns }),
      ...(spec.dnsSearch.length === 0 ? {} : { DnsSearch: spec.dnsSearch }),
    },
    ...(spec.address === null
      ? {}
      : { NetworkingConfig: { EndpointsConfig: { [spec.network]: { IPAMConfig: fixedAddresses(spec) } } } }),
  };
}

function fixedAddresses({ address, address6 = null }: ContainerSpec): Readonly<Record<string, unknown>> {
  return { IPv4Address: address, ...(address6 === null ? {} : { IPv6Address: address6 }) };
}

/**
 * Docker hands out neither the first nor the last address of the subnet by itself, and refuses to make a network that asks
 * for it: the host with the first or the last block of the range would have none.
 */
function withoutEnds({ subnet, reserved }: EngineNetworkSpec): EngineNetworkSpec["reserved"] {
  const whole = parseCidr(subnet);
  const ends = [cidrAddress(whole, 0), cidrAddress(whole, cidrSize(whole) - 1)];
  return Object.fromEntries(Object.entries(reserved).filter(([, address]) => !ends.includes(address)));
}

/** Body of `POST /networks/create`. */
export function renderNetwork(spec: EngineNetworkSpec): Readonly<Record<string, unknown>> {
  if (spec.driver !== undefined) {
    // The driver hands out what it will: the engine is told subnet and gateway, and no part of them.
    const Config = [{ Subnet: spec.subnet, Gateway: spec.gateway }];
    return {
      Name: spec.name,
      Driver: spec.driver,
      CheckDuplicate: true,
      IPAM: { Driver: spec.driver, Options: spec.ipamOptions ?? {}, Config },
      Options: spec.options,
    };
  }
  const { ip6 = null } = spec;
  return {
    Name: spec.name,
    Driver: "bridge",
    CheckDuplicate: true,
    ...(ip6 === null ? {} : { EnableIPv6: true }),
    IPAM: {
      Driver: "default",
      Config: [
        {
          Subnet: spec.subnet,
          IPRange: spec.ipRange,
          Gateway: spec.gateway,
          AuxiliaryAddresses: withoutEnds(spec),
        },
        ...(ip6 === null ? [] : [{ Subnet: ip6.subnet, IPRange: ip6.ipRange, Gateway: ip6.gateway }]),
      ],
    },
    Options: spec.options,
  };
}
