import type { Readable } from "node:stream";
import { AppError } from "../../model/error.ts";
import type { DockerClient } from "./docker-client.ts";
import { dockerError } from "./docker-error.ts";

const PULL_TIMEOUT_MS = 600_000;
/** The engine answers only when the registry did. */
const BEGIN_TIMEOUT_MS = 120_000;

/** Pulls one image. @throws AppError not-found | denied | unavailable | invalid, naming the image. */
export async function pullDockerImage(client: DockerClient, image: string, signal?: AbortSignal): Promise<void> {
  const attempt = { what: `pull image "${image}"`, object: image };
  const deadline = AbortSignal.timeout(PULL_TIMEOUT_MS);
  const stream = await client.stream({
    method: "POST",
    path: "/images/create",
    query: splitImage(image),
    attempt,
    timeoutMs: BEGIN_TIMEOUT_MS,
    signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
  });
  const fault = await readProgress(stream).catch((error: unknown) => {
    if (deadline.aborted) return `no end after ${PULL_TIMEOUT_MS / 60_000} min: deadline exceeded`;
    if (signal?.aborted === true) return "it was given up: context canceled";
    throw dockerError(error, attempt);
  });
  if (fault === null) return;
  if (signal?.aborted === true) throw new AppError("unavailable", `Cannot ${attempt.what}: it was given up`);
  throw dockerError(new Error(fault), attempt);
}

/** Without a tag the engine would pull every tag of the name. */
export function splitImage(image: string): { readonly fromImage: string; readonly tag: string } {
  const digestAt = image.indexOf("@");
  if (digestAt > 0) return { fromImage: image.slice(0, digestAt), tag: image.slice(digestAt + 1) };
  const colonAt = image.lastIndexOf(":");
  // A colon before a slash belongs to the registry's port.
  if (colonAt > image.lastIndexOf("/")) return { fromImage: image.slice(0, colonAt), tag: image.slice(colonAt + 1) };
  return { fromImage: image, tag: "latest" };
}

/** The pull's progress, a JSON object a line; failures come in it, after a status of 200. Null when all went well. */
async function readProgress(stream: Readable): Promise<string | null> {
  let rest = "";
  let fault: string | null = null;
  const decoder = new TextDecoder();
  for await (const piece of stream as AsyncIterable<Uint8Array>) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) fault ??= parseFault(line);
  }
  return fault ?? parseFault(rest);
}

function parseFault(line: string): string | null {
  if (line.trim() === "") return null;
  try {
    const json = JSON.parse(line) as { readonly error?: unknown };
    return typeof json.error === "string" ? json.error : null;
  } catch {
    return null;
  }
}
