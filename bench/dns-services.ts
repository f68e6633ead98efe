import { type Ipv4, formatIpv4 } from "../src/model/ip.ts";

export const BENCH_PORT = 8080;

/** 1,000 services of 3 instances. */
export const BENCH_SERVICES: readonly { readonly service: string; readonly addresses: readonly Ipv4[] }[] = Array.from(
  { length: 1000 },
  (_, index) => ({
    service: `service-${index}`,
    addresses: [1, 2, 3].map((host) => formatIpv4(0x0a020000 + host * 4096 + index + 2)),
  }),
);

/** What is asked, by mix; each line as dnsperf reads it. */
export const BENCH_MIXES: Readonly<Record<string, readonly string[]>> = {
  a: BENCH_SERVICES.map(({ service }) => `${service}.service.consul A`),
  srv: BENCH_SERVICES.map(({ service }) => `_${service}._tcp.service.consul SRV`),
  nxdomain: BENCH_SERVICES.map(({ service }) => `no-${service}.service.consul A`),
  mixed: BENCH_SERVICES.flatMap(({ service }, index) => [
    `${service}.service.consul A`,
    `${service}.service.consul AAAA`,
    `_${service}._tcp.service.consul SRV`,
    ...(index % 2 === 0 ? [`no-${service}.service.consul A`] : []),
  ]),
};
