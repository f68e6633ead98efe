import { AppError, describeError } from "../../model/error.ts";
import type { ErrorCode } from "../../model/error.ts";

/** What was tried: "Cannot <what>: …", with the name of the thing for `details`. */
export interface DockerAttempt {
  readonly what: string;
  readonly object: string;
}

interface Meaning {
  readonly pattern: RegExp;
  readonly code: ErrorCode;
  /** Which thing is at fault, for `details.object`. */
  readonly object: string;
  readonly hint: string;
}

/** What the engine's words mean. Its status codes do not tell: an address taken is 403, a port taken 500. First match wins. */
const MEANINGS: readonly Meaning[] = [
  {
    pattern:
      /no such image|manifest unknown|manifest for .* not found|pull access denied|repository .* not found|name unknown/i,
    code: "not-found",
    object: "image",
    hint: "Push the image to the registry, or check its name and tag",
  },
  {
    pattern: /invalid reference format|invalid repository name/i,
    code: "invalid",
    object: "image",
    hint: "Write the image as [registry[:port]/]name[:tag] in lower case",
  },
  {
    pattern: /HTTP response to HTTPS client/i,
    code: "unavailable",
    object: "image",
    hint: "Add the registry to insecure-registries in /etc/docker/daemon.json, or give it a certificate",
  },
  {
    pattern: /unauthorized|authentication required|no basic auth|denied: /i,
    code: "denied",
    object: "image",
    hint: "Log the host in to the registry: docker login REGISTRY",
  },
  {
    pattern: /container name .* is already in use|name .* already in use/i,
    code: "conflict",
    object: "name",
    hint: "Remove or rename the container of that name: docker rm -f NAME",
  },
  {
    pattern: /port is already allocated|failed to listen|bind: address already in use|bind for .* failed/i,
    code: "conflict",
    object: "port",
    hint: "Free the port on the host, or publish no host port: on the flat network none is needed",
  },
  {
    pattern: /address already in use|already allocated|no available .*addresses/i,
    code: "conflict",
    object: "address",
    hint: "See which container holds the address: docker network inspect apollo",
  },
  {
    pattern: /network .* not found|no such network|could not find a network/i,
    code: "not-found",
    object: "network",
    hint: "The agent makes the network: apollo status shows what keeps it from that",
  },
  {
    pattern: /network .* has active endpoints|pool overlaps|network with name .* already exists/i,
    code: "conflict",
    object: "network",
    hint: "See what uses the network: docker network inspect NAME",
  },
  {
    pattern: /no such container|no such exec/i,
    code: "not-found",
    object: "container",
    hint: "List what there is: docker ps --all",
  },
  {
    pattern: /executable file not found|no such file or directory: unknown|permission denied: unknown|OCI runtime/i,
    code: "invalid",
    object: "command",
    hint: "Check the command: it must exist in the image and be executable",
  },
  {
    pattern:
      /dial tcp|dial unix|no such host|i\/o timeout|TLS handshake|connection refused|connection reset|server misbehaving|certificate|deadline exceeded|context canceled/i,
    code: "unavailable",
    object: "image",
    hint: "Check that the host reaches the registry, and its name",
  },
];

const CONNECTION_CODES: ReadonlySet<string> = new Set([
  "ENOENT",
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "EACCES",
  "ETIMEDOUT",
  "FailedToOpenSocket",
  "ConnectionClosed",
]);

/** Turns what the engine or the connection to it said into an AppError with the thing's name and the next step. */
export function dockerError(error: unknown, attempt: DockerAttempt): AppError {
  const status = numberField(error, "statusCode");
  const message = status === null ? describeError(error) : engineMessage(error);
  if (status === null && isConnectionError(error)) {
    return new AppError("unavailable", `Cannot ${attempt.what}: the container engine does not answer (${message})`, {
      cause: error,
      hint: "Start it: systemctl start docker",
      details: { object: "engine", name: attempt.object },
    });
  }
  const meaning = MEANINGS.find(({ pattern }) => pattern.test(message));
  const code = meaning?.code ?? codeOfStatus(status);
  const details = { object: meaning?.object ?? "engine", name: attempt.object, ...(status === null ? {} : { status }) };
  const text = `Cannot ${attempt.what}: ${message}`;
  return new AppError(
    code,
    text,
    meaning === undefined ? { cause: error, details } : { cause: error, details, hint: meaning.hint },
  );
}

function codeOfStatus(status: number | null): ErrorCode {
  if (status === 404) return "not-found";
  if (status === 409 || status === 403) return "conflict";
  if (status !== null && status >= 400 && status < 500) return "invalid";
  return "unavailable";
}

/** dockerode wraps the engine's `{"message"}` in its own sentence; the plain one reads better. */
function engineMessage(error: unknown): string {
  if (typeof error === "object" && error !== null && "json" in error) {
    const json = error.json;
    if (typeof json === "object" && json !== null && "message" in json && typeof json.message === "string") {
      return json.message.trim();
    }
  }
  return describeError(error)
    .replace(/^\(HTTP code \d+\) [^-]* - /, "")
    .trim();
}

function isConnectionError(error: unknown): boolean {
  if (typeof error !== "object" || error === null) return false;
  if ("name" in error && error.name === "AbortError") return true;
  return "code" in error && typeof error.code === "string" && CONNECTION_CODES.has(error.code);
}

function numberField(error: unknown, field: "statusCode"): number | null {
  if (typeof error !== "object" || error === null || !(field in error)) return null;
  const value = (error as Record<string, unknown>)[field];
  return typeof value === "number" ? value : null;
}
