import type { ContainerSpec } from "../platform/ports/engine.ts";

export const PLAIN_SERVICE = "plain";

/** What somebody starts by hand on our network, and wants registered. */
export const PLAIN_CONTAINER: ContainerSpec = {
  name: "by-hand",
  image: "app:0",
  argv: null,
  entrypoint: null,
  env: { SERVICE_NAME: PLAIN_SERVICE },
  labels: {},
  user: null,
  tty: false,
  privileged: false,
  cpus: 0,
  memoryBytes: 0,
  hostname: null,
  network: "apollo",
  address: null,
  dns: [],
  dnsSearch: [],
  exposedPorts: [{ port: 80, protocol: "tcp" }],
  publish: [],
  mounts: [],
  stopGraceMs: 0,
  restart: "unless-stopped",
};
