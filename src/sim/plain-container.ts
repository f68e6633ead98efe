import type { ContainerSpec } from "../platform/ports/engine.ts";

/** A container as plain as it can be, on the host's network. */
export function containerSpec(change: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    name: "plain",
    image: "web:1",
    argv: null,
    entrypoint: null,
    env: {},
    labels: {},
    user: null,
    tty: false,
    privileged: false,
    cpus: 0.1,
    memoryBytes: 32 * 1024 * 1024,
    hostname: null,
    network: "host",
    address: null,
    dns: [],
    dnsSearch: [],
    exposedPorts: [],
    publish: [],
    mounts: [],
    stopGraceMs: 0,
    restart: "no",
    ...change,
  };
}

export const PLAIN_SERVICE = "plain";

/** What somebody starts by hand on our network, and wants registered. */
export const PLAIN_CONTAINER = containerSpec({
  name: "by-hand",
  image: "app:0",
  env: { SERVICE_NAME: PLAIN_SERVICE },
  cpus: 0,
  memoryBytes: 0,
  network: "apollo",
  exposedPorts: [{ port: 80, protocol: "tcp" }],
  restart: "unless-stopped",
});
