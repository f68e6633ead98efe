import type { JoinExamination } from "../../cluster/check-join.ts";
import type { JoinRequest } from "../../cluster/join.ts";
import { AppError } from "../../model/error.ts";
import { parseHostName } from "../../model/ids.ts";
import { formatCidr, parseCidr } from "../../model/ip.ts";
import { parseHostAddress } from "../../model/ip6.ts";
import { expectObject, Issues, JsonObject } from "../read-json.ts";

/** A machine with more routes than this is a router of the internet, not a host. */
const RANGES_MAX = 10_000;
const FINDINGS_MAX = 100;
const TEXT_MAX = 2000;

/**
 * Reads what a joining machine says of itself. Fields of newer agents are ignored.
 * @throws AppError `invalid` with every fault.
 */
export function parseJoin(value: unknown): Omit<JoinRequest, "local"> {
  const issues = new Issues();
  const join = new JsonObject(expectObject(value), "", issues);
  const resources = join.object("resources");
  const ranges = join.strings("hostRanges") ?? [];
  if (ranges.length > RANGES_MAX) issues.sense("/hostRanges", `more than ${RANGES_MAX} ranges`);
  const request = {
    name: attempt(join, "name", parseHostName),
    address: attempt(join, "address", parseHostAddress),
    labels: join.stringMap("labels"),
    resources: {
      cpus: resources?.number("cpus") ?? 0,
      memoryMiB: resources?.number("memoryMiB") ?? 0,
      diskMiB: resources?.number("diskMiB") ?? 0,
    },
    hostRanges: ranges.slice(0, RANGES_MAX).flatMap((text, index) => {
      try {
        return [formatCidr(parseCidr(text))];
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        issues.sense(`/hostRanges(${index})`, error.message);
        return [];
      }
    }),
    credential: join.string("credential"),
    ...readExamination(join),
  };
  issues.throwIfAny("join request");
  const { name, address } = request;
  if (name === null || address === null) throw new Error("a field that is missing was not noted");
  return { ...request, name, address };
}

/** Agents of before send none. */
function readExamination(join: JsonObject): { readonly examination?: JoinExamination } {
  const examination = join.object("examination");
  if (examination === null) return {};
  const findings = (examination.objects("findings") ?? []).slice(0, FINDINGS_MAX).map((finding) => ({
    check: finding.needString("check")?.slice(0, TEXT_MAX) ?? "",
    state: finding.string("state") === "error" ? ("error" as const) : ("warning" as const),
    text: finding.needString("text")?.slice(0, TEXT_MAX) ?? "",
    hint: finding.string("hint")?.slice(0, TEXT_MAX) ?? null,
  }));
  const force = examination.boolean("force") ?? false;
  return { examination: { clockMs: examination.number("clockMs") ?? 0, findings, force } };
}

function attempt<T>(join: JsonObject, field: string, parse: (text: string) => T): T | null {
  const text = join.needString(field);
  if (text === null) return null;
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return join.issues.sense(join.at(field), error.message);
  }
}
