import { cidrContains, parseCidr, parseIpv4 } from "../model/ip.ts";

/** For addresses and ranges as texts. */
export function isInCidr(cidr: string, address: string): boolean {
  return cidrContains(parseCidr(cidr), parseIpv4(address));
}
