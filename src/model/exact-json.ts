/**
 * JSON whose whole numbers stay whole. A double holds 53 bits; Consul's flags have 64, and its clients compare them, so a
 * rounded one breaks their locks. Integers that a double cannot hold are bigints on our side.
 */

interface SourceText {
  readonly source?: string;
}

/** ECMAScript's JSON.rawJSON and reviver context, which the compiler's library does not declare yet. */
interface ExactJson {
  rawJSON(text: string): unknown;
  parse(text: string, reviver: (this: unknown, key: string, value: unknown, context?: SourceText) => unknown): unknown;
}

const exact = JSON as unknown as ExactJson;
const WHOLE = /^-?\d+$/;

/** @throws SyntaxError for anything but JSON. */
export function parseExactJson(text: string): unknown {
  // A number of 16 digits or more is what needs care; without one the plain parser is several times faster.
  if (!/\d{16}/.test(text)) return JSON.parse(text) as unknown;
  return exact.parse(text, (_key, value, context) => {
    if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
    const source = context?.source;
    return source !== undefined && WHOLE.test(source) ? BigInt(source) : value;
  });
}

/** Bigints are printed as plain numbers. `indent` 0 prints on one line. */
export function renderExactJson(value: unknown, indent = 0): string {
  try {
    // Several times faster than with a replacer, and bigints are rare: it refuses them.
    return JSON.stringify(value, null, indent);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return JSON.stringify(
      value,
      (_key, each: unknown) => (typeof each === "bigint" ? exact.rawJSON(each.toString()) : each),
      indent,
    );
  }
}
