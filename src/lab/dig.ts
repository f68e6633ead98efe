/** One record of a DNS answer, as `dig` prints it. */
export interface DigRecord {
  readonly name: string;
  readonly ttl: number;
  readonly type: string;
  /** The rest of the line: an address, or "1 1 8080 target." */
  readonly data: string;
}

export interface DigAnswer {
  /** NOERROR, NXDOMAIN, …; null when no answer came. */
  readonly status: string | null;
  readonly answers: readonly DigRecord[];
  readonly additional: readonly DigRecord[];
  readonly queryMs: number;
}

/** A service's port at one target, from an SRV record. */
export interface SrvTarget {
  readonly port: number;
  /** With its dot at the end. */
  readonly target: string;
}

/** argv of a question; the answer is for `parseDig`. Names end with a dot, so that no search list changes them. */
export function digArgv(name: string, type: string, options: readonly string[] = []): readonly string[] {
  return ["dig", "+time=2", "+tries=2", ...options, `${name}.`, type];
}

/** Reads what `dig` prints by default. Total: text without an answer has the status null. */
export function parseDig(text: string): DigAnswer {
  const records: Record<string, DigRecord[]> = {};
  let section = "";
  for (const line of text.split("\n")) {
    const heading = /^;; ([A-Z]+) (?:PSEUDO)?SECTION:/.exec(line);
    if (heading !== null) section = heading[1] ?? "";
    const record = line.startsWith(";") ? null : parseRecord(line);
    if (record !== null) (records[section] ??= []).push(record);
  }
  return {
    status: /^;; ->>HEADER<<-.* status: ([A-Z]+)/m.exec(text)?.[1] ?? null,
    answers: records["ANSWER"] ?? [],
    additional: records["ADDITIONAL"] ?? [],
    queryMs: Number(/^;; Query time: ([0-9]+) msec/m.exec(text)?.[1] ?? 0),
  };
}

function parseRecord(line: string): DigRecord | null {
  const match = /^(\S+)\s+([0-9]+)\s+IN\s+([A-Z]+)\s+(.*)$/.exec(line);
  if (match === null) return null;
  const [, name = "", ttl = "0", type = "", data = ""] = match;
  return { name, ttl: Number(ttl), type, data };
}

/** Addresses of an answer in the order they came in. */
export function addressesOf(answer: DigAnswer): readonly string[] {
  return answer.answers.flatMap((record) => (record.type === "A" ? [record.data] : []));
}

export function srvTargetsOf(answer: DigAnswer): readonly SrvTarget[] {
  return answer.answers.flatMap((record) => {
    const [, , port = "", target = ""] = record.data.split(" ");
    return record.type === "SRV" ? [{ port: Number(port), target }] : [];
  });
}
