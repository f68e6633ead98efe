import { AppError } from "../model/error.ts";

/** A selector or rule as the API takes it; the server knows what is right. */
export type SelectorJson = Record<string, string | Record<string, string>>;

export interface PortRangeJson {
  readonly protocol: "tcp" | "udp";
  readonly from: number;
  readonly to: number;
}

const FIELDS: ReadonlySet<string> = new Set(["app", "service", "network", "cidr", "host"]);
const LABEL = "label.";

/** Reads `app=web,label.tier=front`: all of it must fit. @throws AppError `invalid`. */
export function parseSelector(text: string): SelectorJson {
  const selector: SelectorJson = {};
  const labels: Record<string, string> = {};
  for (const part of text.split(",")) {
    const [key, value] = splitOnce(part);
    if (value === "") throw faulty(text, `"${part}" has no value`);
    if (key.startsWith(LABEL) && key.length > LABEL.length) labels[key.slice(LABEL.length)] = value;
    else if (FIELDS.has(key)) selector[key] = value;
    else throw faulty(text, `"${key}" is nothing that can be selected`);
  }
  return Object.keys(labels).length === 0 ? selector : { ...selector, labels };
}

function splitOnce(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function faulty(text: string, why: string): AppError {
  return new AppError("invalid", `Cannot read selector "${text}": ${why}`, {
    hint: "Write app=NAME, service=NAME, network=NAME, cidr=RANGE, host=any or label.KEY=VALUE, with commas where all must fit",
  });
}

/** Reads `80`, `80/udp` or `8000-8080/tcp`. @throws AppError `invalid`. */
export function parsePorts(text: string): PortRangeJson {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp))?$/.exec(text);
  const [from, to] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (match === null || from < 1 || to > 65_535 || from > to) {
    throw new AppError("invalid", `Cannot read port "${text}": it must look like 80, 53/udp or 8000-8080/tcp`);
  }
  return { protocol: match[3] === "udp" ? "udp" : "tcp", from, to };
}

export function formatSelector(selector: Readonly<Record<string, unknown>>): string {
  return Object.entries(selector)
    .flatMap(([key, value]) =>
      typeof value === "object" && value !== null
        ? Object.entries(value).map(([label, said]) => `${LABEL}${label}=${String(said)}`)
        : [`${key}=${String(value)}`],
    )
    .join(",");
}

export function formatPorts({ protocol, from, to }: PortRangeJson): string {
  return `${from === to ? from : `${from}-${to}`}/${protocol}`;
}
