/** Who of several servers that start together begins the cluster. */
import { parseIpv4 } from "../model/ip.ts";

export interface FounderInput {
  /** `https://ADDRESS:PORT` of this server. */
  readonly self: string;
  /** The same of those that it was told to join. */
  readonly join: readonly string[];
  readonly bootstrap: boolean;
  /** How many servers there are to be; 0: nobody said. */
  readonly expect: number;
}

/**
 * `begin`: this one, whoever else is there. `begin-if-alone`: this one, unless one of those that it was told of has begun before.
 * With `bootstrap-expect` servers that were all told the same (each other, or all of them) take the one with the lowest address.
 */
export function chooseFounder({ self, join, bootstrap, expect }: FounderInput): "begin" | "begin-if-alone" | "join" {
  const others = [...new Set(join)].filter((url) => url !== self);
  if (bootstrap || others.length === 0) return "begin";
  const knowsAll = join.includes(self) || others.length + 1 === expect;
  if (expect < 2 || !knowsAll) return "join";
  return others.every((url) => orderOf(self) < orderOf(url)) ? "begin-if-alone" : "join";
}

/** Addresses by their numbers, names after them. */
function orderOf(url: string): string {
  const { hostname, port } = new URL(url);
  const numbers = hostname.split(".").map((part) => part.padStart(3, "0"));
  const place = isAddress(hostname) ? numbers.join(".") : `name ${hostname}`;
  return `${place}:${port.padStart(5, "0")}`;
}

function isAddress(host: string): boolean {
  try {
    return parseIpv4(host) === host;
  } catch {
    return false;
  }
}
