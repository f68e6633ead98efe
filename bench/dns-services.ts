import { type Ipv4, formatIpv4 } from "../src/model/ip.ts";

/** 200 services of 3 instances: a cluster that fills three hosts. */
export const BENCH_SERVICES: readonly { readonly service: string; readonly addresses: readonly Ipv4[] }[] = Array.from(
  { length: 200 },
  (_, index) => ({
    service: `service-${index}`,
    addresses: [1, 2, 3].map((host) => formatIpv4(0x0a020000 + host * 256 + index + 2)),
  }),
);
