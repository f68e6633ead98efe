import { AppError, type ErrorCode } from "../../model/error.ts";

const CODES: Readonly<Record<number, ErrorCode>> = {
  400: "invalid",
  401: "denied",
  403: "denied",
  404: "not-found",
  413: "invalid",
};

/**
 * A refusal in Consul's own words: clients compare its texts, and its statuses follow no rule (an unknown session is a 500).
 * So these messages are Consul's, not of the house's form.
 */
export function registryError(status: number, message: string): AppError {
  return new AppError(CODES[status] ?? "conflict", message, { details: { status } });
}
