import { z } from "zod";
import { DEFAULT_DNS, type DnsSettings } from "../model/dns-settings.ts";

/** RFC 2181 §8. */
const TTL_SECONDS_MAX = 2 ** 31 - 1;
const ttl = z.number().int().min(0).max(TTL_SECONDS_MAX);
const domain = z
  .string()
  .max(200)
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/, "must be a domain, lower case");
const serviceKey = z.string().regex(/^([a-z0-9_.-]{1,200}\*?|\*)$/, "must be a service's name, prefix* or *");

const soa = z.strictObject({
  refreshSeconds: ttl.default(DEFAULT_DNS.soa.refreshSeconds),
  retrySeconds: ttl.default(DEFAULT_DNS.soa.retrySeconds),
  expireSeconds: ttl.default(DEFAULT_DNS.soa.expireSeconds),
  minTtlSeconds: ttl.default(DEFAULT_DNS.soa.minTtlSeconds),
});

/** The `[dns]` table of a server's configuration file: any of `DnsSettings`. */
export const dnsTable = z
  .strictObject({
    altDomains: z.array(domain).max(8),
    nodeTtlSeconds: ttl,
    serviceTtlSeconds: z.record(serviceKey, ttl),
    onlyPassing: z.boolean(),
    criticalIsMissing: z.boolean(),
    serveCritical: z.boolean(),
    addressesMax: z.number().int().min(0).max(4096),
    nodeMetaTxt: z.boolean(),
    soa,
    upstreamOrder: z.enum(["sequential", "random"]),
    upstreamTimeoutMs: z.number().int().min(50).max(5000),
    staleSeconds: z.number().int().min(0).max(604_800),
  })
  .partial();

/** What differs from the defaults, null for nothing: stored settings say only what was chosen. */
export function chosenDns(table: z.infer<typeof dnsTable> | undefined): Partial<DnsSettings> | null {
  const defaults = new Map<string, unknown>(Object.entries(DEFAULT_DNS));
  const chosen = Object.entries(table ?? {}).filter(
    ([key, value]) => value !== undefined && JSON.stringify(value) !== JSON.stringify(defaults.get(key)),
  );
  return chosen.length === 0 ? null : Object.fromEntries(chosen);
}
