/**
 * The host's /etc/resolv.conf with our server before the others. What was there stays in the text, so that it can be put
 * back from the file alone, even with what others changed in it since:
 *
 *   # apollo begin: …
 *   nameserver 10.2.1.1
 *   # apollo end
 *   <the original, with nameservers beyond the third and replaced search lines commented out by "#apollo# ">
 */
import { type Ipv4, isIpv4 } from "../model/ip.ts";

export interface ResolverSettings {
  readonly nameserver: Ipv4;
  /** Domains put before the original's; [] leaves the search line alone. */
  readonly search: readonly string[];
}

const BEGIN =
  "# apollo begin: names of the cluster are answered first; `apollo` takes these lines out again when it stops";
const END = "# apollo end";
const MUTED = "#apollo# ";
/** Resolver libraries read no more than three. */
const NAMESERVERS_MAX = 3;
/** glibc before 2.26 reads no more than six domains. */
const SEARCH_MAX = 6;

/** `original` must be free of our lines: see `originalResolvConf`. */
export function renderResolvConf(original: string, { nameserver, search }: ResolverSettings): string {
  const domains = search.length === 0 ? [] : [...new Set([...search, ...searchOf(original)])].slice(0, SEARCH_MAX);
  const block = [
    BEGIN,
    `nameserver ${nameserver}`,
    ...(domains.length === 0 ? [] : [`search ${domains.join(" ")}`]),
    END,
    "",
  ];
  let nameservers = 1;
  const lines = original.split("\n").map((line) => {
    if (isKeyword(line, "nameserver")) {
      nameservers += 1;
      return nameservers > NAMESERVERS_MAX ? MUTED + line : line;
    }
    // The last search line wins, so an original one would undo ours.
    const replaced = domains.length > 0 && (isKeyword(line, "search") || isKeyword(line, "domain"));
    return replaced ? MUTED + line : line;
  });
  return block.join("\n") + lines.join("\n");
}

/** The text without our lines; a text that has none comes back as it is. Null when only a part of them is left. */
export function originalResolvConf(text: string): string | null {
  const lines = text.split("\n");
  const begin = lines.indexOf(BEGIN);
  const end = lines.indexOf(END);
  if (begin === -1 && end === -1) return lines.some((line) => line.startsWith(MUTED)) ? null : text;
  if (begin === -1 || end < begin) return null;
  return [...lines.slice(0, begin), ...lines.slice(end + 1)]
    .map((line) => (line.startsWith(MUTED) ? line.slice(MUTED.length) : line))
    .join("\n");
}

/** IPv4 nameservers in the order of the file; others (IPv6, scoped) are not ours to ask. */
export function nameserversOf(text: string): readonly Ipv4[] {
  const values = text.split("\n").flatMap((line) => (isKeyword(line, "nameserver") ? wordsOf(line).slice(1, 2) : []));
  return [...new Set(values.filter((value): value is Ipv4 => isIpv4(value)))];
}

/** The last `search` or `domain` line counts. */
function searchOf(text: string): readonly string[] {
  const line = text.split("\n").findLast((each) => isKeyword(each, "search") || isKeyword(each, "domain"));
  return line === undefined ? [] : wordsOf(line).slice(1);
}

function isKeyword(line: string, keyword: string): boolean {
  return wordsOf(line)[0] === keyword;
}

function wordsOf(line: string): readonly string[] {
  return line.trim().split(/\s+/);
}
