/** Readers of what `tc -j` prints. */
import { z } from "zod";
import { AppError } from "../../../model/error.ts";

const qdiscShape = z.array(z.object({ kind: z.string(), dev: z.string() }).partial());
const filterShape = z.array(
  z
    .object({ pref: z.number(), options: z.object({ prog: z.object({ id: z.number() }).partial() }).partial() })
    .partial(),
);

/** Devices that can have filters at their ingress. */
export function parseFilteredDevices(stdout: string): readonly string[] {
  const found = read(qdiscShape, stdout).flatMap(({ kind, dev }) =>
    kind === "clsact" && dev !== undefined ? [dev] : [],
  );
  return [...new Set(found)].toSorted();
}

export interface IngressFilters {
  /** Number of the program at our place in the line; null when nothing is there. */
  readonly own: number | null;
  /** How many others there are. */
  readonly others: number;
}

/** One line of `filter show dev X ingress`. */
export function parseFilters(line: string, preference: number): IngressFilters {
  const filters = read(filterShape, line).filter(({ options }) => options !== undefined);
  const own = filters.find(({ pref }) => pref === preference);
  return { own: own?.options?.prog?.id ?? null, others: filters.filter(({ pref }) => pref !== preference).length };
}

function read<T>(shape: z.ZodType<T>, text: string): T {
  try {
    return shape.parse(text.trim() === "" ? [] : JSON.parse(text));
  } catch (cause) {
    throw new AppError("internal", "Cannot read what tc said: it is not the JSON that we know", {
      cause,
      hint: "Report this with the version of iproute2",
    });
  }
}
