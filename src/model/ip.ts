import { AppError } from "./error.ts";

/** A dotted-quad IPv4 address, made only by `parseIpv4` and `formatIpv4`. */
export type Ipv4 = string & { readonly __brand: "Ipv4" };

/** An IPv4 range in CIDR form; `first` is the network address as an unsigned 32-bit number. */
export interface Cidr {
  readonly first: number;
  /** Prefix length, 0 to 32. */
  readonly prefix: number;
}

/** Reads "10.2.1.7". Leading zeros are refused, since some readers take them as octal. */
export function parseIpv4(text: string): Ipv4 {
  if (!isIpv4(text))
    throw new AppError("invalid", `Cannot read address "${text}": it must be four numbers 0-255 with dots`);
  return text;
}

export function isIpv4(text: string): text is Ipv4 {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255);
}

export function ipv4ToNumber(address: Ipv4): number {
  return address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function formatIpv4(value: number): Ipv4 {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".") as Ipv4;
}

/** Reads "10.2.0.0/16"; bits after the prefix must be zero. */
export function parseCidr(text: string): Cidr {
  const [address = "", length = "", rest] = text.split("/");
  const prefix = /^[0-9]{1,2}$/.test(length) ? Number(length) : 33;
  if (!isIpv4(address) || prefix > 32 || rest !== undefined) {
    throw new AppError("invalid", `Cannot read range "${text}": it must look like 10.2.0.0/16`);
  }
  const first = ipv4ToNumber(address);
  if (first % cidrSize({ first, prefix }) !== 0) {
    const base = formatIpv4(first - (first % cidrSize({ first, prefix })));
    throw new AppError("invalid", `Cannot read range "${text}": bits after the prefix are set`, {
      hint: `Write ${base}/${prefix}`,
    });
  }
  return { first, prefix };
}

export function formatCidr(cidr: Cidr): string {
  return `${formatIpv4(cidr.first)}/${cidr.prefix}`;
}

/** Number of addresses in the range. */
export function cidrSize(cidr: Cidr): number {
  return 2 ** (32 - cidr.prefix);
}

export function cidrContains(cidr: Cidr, address: Ipv4): boolean {
  const value = ipv4ToNumber(address);
  return value >= cidr.first && value < cidr.first + cidrSize(cidr);
}

export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return a.first < b.first + cidrSize(b) && b.first < a.first + cidrSize(a);
}

/** The nth address of the range: 0 is the network address, 1 the gateway by our convention. */
export function cidrAddress(cidr: Cidr, index: number): Ipv4 {
  return formatIpv4(cidr.first + index);
}
