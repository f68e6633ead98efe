/** What kind of refusal or failure an operator meets. One table each maps these to HTTP status and exit code. */
export type ErrorCode = "invalid" | "not-found" | "conflict" | "unavailable" | "denied" | "internal";

export interface ErrorDetail {
  /** Where in the input, as the API it came by writes paths: `/healthChecks(0)/path`. */
  readonly path: string;
  readonly message: string;
}

export interface AppErrorOptions {
  readonly cause?: unknown;
  /** The next command to type, or the change to make. */
  readonly hint?: string;
  /** Fields of the input that were refused. */
  readonly fields?: readonly ErrorDetail[];
  /** Ids for logs and clients; never secrets. */
  readonly details?: Readonly<Record<string, string | number | readonly string[]>>;
}

/**
 * An operating error: someone can act on it. Message: "Cannot <verb> <thing>: <state, wanted state>".
 * Anything else that is thrown is a programmer error and ends the process.
 */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly fields: readonly ErrorDetail[];
  readonly details: Readonly<Record<string, string | number | readonly string[]>>;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "AppError";
    this.code = code;
    this.hint = options.hint;
    this.fields = options.fields ?? [];
    this.details = options.details ?? {};
  }
}

export const HTTP_STATUS: Readonly<Record<ErrorCode, number>> = {
  invalid: 422,
  "not-found": 404,
  conflict: 409,
  unavailable: 503,
  denied: 403,
  internal: 500,
};

/** Exit codes of every `apollo` command; 0 is success. */
export const EXIT_CODE: Readonly<Record<ErrorCode, number>> = {
  internal: 1,
  invalid: 2,
  "not-found": 3,
  conflict: 4,
  unavailable: 5,
  denied: 6,
};

/** Marks a branch that types say cannot be reached. */
export function unreachable(value: never, what: string): never {
  throw new Error(`Unexpected ${what}: ${JSON.stringify(value)}`);
}

/** The text of anything that was thrown, for wrapping and logs. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
