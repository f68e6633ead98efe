import { z } from "zod";
import { AppError } from "../../model/error.ts";
import { type TraceQuestion, traceQuestionShape } from "../../network/trace/trace-facts.ts";

const shape = traceQuestionShape.extend({ here: z.string().min(1).max(253).nullable().default(null) });

/** @throws AppError `invalid` that names the field. */
export function parseTrace(value: unknown): TraceQuestion & { readonly here: string | null } {
  const read = shape.safeParse(value);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw new AppError("invalid", `Cannot trace: ${issue?.path.join("/") || "the request"}: ${issue?.message}`);
}
