import { AppError } from "../model/error.ts";

/** Reads standard input to its end, whatever bytes it holds. @throws AppError `invalid` when it is longer. */
export async function readInput(stream: NodeJS.ReadStream, bytesMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : (chunk as Uint8Array);
    size += bytes.length;
    if (size > bytesMax)
      throw new AppError("invalid", `Cannot read standard input: it is longer than ${bytesMax} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}
