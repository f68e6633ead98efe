import { AppError } from "../model/error.ts";

/** Reads a whole number of the command line, zero or more. */
export function readCount(text: string, what: string, max = 1_000_000): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(count) || count > max) {
    throw new AppError("invalid", `Cannot use ${what} "${text}": it must be a whole number, 0 to ${max}`);
  }
  return count;
}

/** Reads a time of the command line as milliseconds: "90", "90s", "5m", "1h". */
export function readDuration(text: string, what: string): number {
  const match = /^([0-9]{1,9})(s|m|h)?$/.exec(text);
  const seconds = { s: 1, m: 60, h: 3600 }[match?.[2] ?? "s"];
  if (match === null || seconds === undefined) {
    throw new AppError("invalid", `Cannot use ${what} "${text}": it must be a number of seconds, or like 5m or 1h`);
  }
  return Number(match[1]) * seconds * 1000;
}
