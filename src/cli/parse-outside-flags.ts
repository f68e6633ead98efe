/** What the options of `apollo service publish|import|virtual` mean. Ranges and names are the server's to check. */
import { AppError } from "../model/error.ts";
import { parseIpv6 } from "../model/ip6.ts";

export interface PortFlag {
  readonly port: number;
  readonly protocol: "tcp" | "udp";
}

/** "53/udp", "5432" (TCP). @throws AppError `invalid`. */
export function parsePortFlag(text: string): PortFlag {
  const [, digits = "", protocol = "tcp"] = /^(\d{1,5})(?:\/(tcp|udp))?$/i.exec(text) ?? [];
  const port = Number(digits);
  if (digits === "" || port < 1 || port > 65_535) {
    throw new AppError("invalid", `Cannot use port "${text}": it must look like 5432 or 53/udp`);
  }
  return { port, protocol: protocol.toLowerCase() === "udp" ? "udp" : "tcp" };
}

/** "192.0.2.7:5432", "[2001:db8::7]:5432". @throws AppError `invalid`. */
export function parseTargetFlag(text: string): { readonly address: string; readonly port: number } {
  const [, four, six, digits = ""] = /^(?:([0-9.]+)|\[([0-9a-fA-F:.]+)\]):(\d{1,5})$/.exec(text) ?? [];
  // In the one form that is compared as text.
  const address = six === undefined ? four : parseIpv6(six);
  if (address === undefined) {
    throw new AppError("invalid", `Cannot import "${text}": it must look like 192.0.2.7:5432 or [2001:db8::7]:5432`, {
      hint: "Give addresses, not names: a name's addresses may change without anybody being told",
    });
  }
  return { address, port: Number(digits) };
}

/** `role=edge`, as many as there are. @throws AppError `invalid`. */
export function parseHostLabels(texts: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    texts.map((text) => {
      const [, label = "", value = ""] = /^([^=]+)=(.*)$/.exec(text) ?? [];
      if (label === "") throw new AppError("invalid", `Cannot choose hosts by "${text}": it must look like role=edge`);
      return [label, value];
    }),
  );
}

/** A name for people when none is given: "dns-53-udp". Dots of a service's name are none of a DNS label's. */
export function publicationName(service: string, { port, protocol }: PortFlag): string {
  return `${service.toLowerCase().replaceAll(/[^a-z0-9-]+/g, "-")}-${port}${protocol === "udp" ? "-udp" : ""}`;
}
