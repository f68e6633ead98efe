import type { Readable } from "node:stream";
import { AppError, describeError } from "../../model/error.ts";
import type { OutputSink } from "../ports/engine.ts";
import { Demultiplexer } from "./demultiplex.ts";

export interface DeliverOptions {
  /** A terminal has one stream, unframed. */
  readonly tty: boolean;
  readonly sink: OutputSink;
  readonly signal?: AbortSignal;
}

/**
 * Hands all output to the sink, one piece after another, reading on only when the sink has taken the last one. Resolves
 * at the end of the stream or when the signal aborts, which also closes the stream.
 *
 * @throws AppError `unavailable` when the connection breaks.
 */
export async function deliverOutput(stream: Readable, options: DeliverOptions): Promise<void> {
  const frames = new Demultiplexer();
  const stop = (): void => void stream.destroy();
  options.signal?.addEventListener("abort", stop);
  if (options.signal?.aborted === true) stop();
  try {
    for await (const piece of stream as AsyncIterable<Uint8Array>) {
      const chunks = options.tty ? [{ stream: "stdout", bytes: piece } as const] : frames.push(piece);
      for (const chunk of chunks) await options.sink(chunk.stream, chunk.bytes);
    }
  } catch (error) {
    if (options.signal?.aborted === true || stream.destroyed) return;
    throw new AppError("unavailable", `Cannot read output: ${describeError(error)}`, { cause: error });
  } finally {
    options.signal?.removeEventListener("abort", stop);
    stream.destroy();
  }
}
