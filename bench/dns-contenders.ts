/** The servers that are compared, each one process with one thread for answers, and all with the same records. */
import { join } from "node:path";
import { addressBytes, addressHex } from "../src/discovery/dns/address-bytes.ts";
import type { LabContainer } from "./dns-lab.ts";
import { BENCH_PORT, BENCH_SERVICES } from "./dns-services.ts";

/** Where a contender is to answer, and with what files beside it. */
export interface Seat {
  readonly address: string;
  readonly port: number;
  readonly directory: string;
  /** Whose questions ours may let the kernel answer: a container's, by its wire, or the host's own; null for nobody's. */
  readonly kernel: LabContainer["port"] | "loopback" | null;
}

export interface Contender {
  readonly name: string;
  readonly program: string;
  /** The text of its configuration file, "" for none. */
  readonly config: (seat: Seat) => string;
  /** The text of `NAME.hosts` beside it. */
  readonly hosts?: () => string;
  readonly argv: (seat: Seat, config: string) => readonly string[];
}

export const CONTENDERS: readonly Contender[] = [
  {
    name: "apollo",
    program: process.execPath,
    config: () => "",
    argv: ({ address, port, directory, kernel }) => [
      process.execPath,
      join(import.meta.dir, "dns-server.ts"),
      address,
      String(port),
      ...(kernel === null ? [] : [JSON.stringify(kernel), join(directory, "bpf")]),
    ],
  },
  {
    name: "dnsmasq",
    program: "dnsmasq",
    config: dnsmasqConfig,
    hosts: dnsmasqHosts,
    argv: (_, config) => ["dnsmasq", "--keep-in-foreground", `--conf-file=${config}`],
  },
  {
    name: "unbound",
    program: "unbound",
    config: unboundConfig,
    argv: (_, config) => ["unbound", "-d", "-c", config],
  },
];

function targetOf(address: string): string {
  return `${addressHex(addressBytes(address) ?? new Uint8Array(4))}.addr.dc1.consul`;
}

/** Hosts files are what dnsmasq looks up by hash; its records for SRV are a list that it searches from the start. */
function dnsmasqHosts(): string {
  const lines = BENCH_SERVICES.flatMap(({ service, addresses }) =>
    addresses.map((address) => `${address} ${service}.service.consul ${targetOf(address)}\n`),
  );
  return lines.join("");
}

function dnsmasqConfig({ address: own, port, directory }: Seat): string {
  const records = BENCH_SERVICES.flatMap(({ service, addresses }) =>
    addresses.map((address) => `srv-host=_${service}._tcp.service.consul,${targetOf(address)},${BENCH_PORT},1,1`),
  );
  return [
    "no-resolv",
    "no-hosts",
    `addn-hosts=${join(directory, "dnsmasq.hosts")}`,
    "bind-interfaces",
    `listen-address=${own}`,
    `port=${port}`,
    `pid-file=${join(directory, "dnsmasq.pid")}`,
    "user=",
    "local=/consul/",
    ...records,
    "",
  ].join("\n");
}

function unboundConfig({ address: own, port, directory }: Seat): string {
  const records = BENCH_SERVICES.flatMap(({ service, addresses }) =>
    addresses.flatMap((address) => [
      `  local-data: "${service}.service.consul. 0 A ${address}"`,
      `  local-data: "${targetOf(address)}. 0 A ${address}"`,
      `  local-data: "_${service}._tcp.service.consul. 0 SRV 1 1 ${BENCH_PORT} ${targetOf(address)}."`,
    ]),
  );
  return [
    "server:",
    `  interface: ${own}`,
    // Containers are no strangers.
    "  access-control: 0.0.0.0/0 allow",
    `  port: ${port}`,
    "  num-threads: 1",
    '  username: ""',
    '  chroot: ""',
    `  directory: "${directory}"`,
    `  pidfile: "${join(directory, "unbound.pid")}"`,
    "  do-daemonize: no",
    "  use-syslog: no",
    "  rrset-roundrobin: yes",
    '  local-zone: "consul." static',
    ...records,
    "",
  ].join("\n");
}
