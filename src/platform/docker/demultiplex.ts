const HEADER_BYTES = 8;

/** A piece of a container's output. */
export interface OutputChunk {
  readonly stream: "stdout" | "stderr";
  readonly bytes: Uint8Array;
}

/**
 * Splits the engine's one stream into the two of the process: each frame is a byte for the stream, three zero bytes, the
 * length (big endian) and the bytes. Frames come in pieces of any size; bytes are handed on without waiting for the
 * frame's end, since a frame may be as long as one write of the process.
 */
export class Demultiplexer {
  #header = new Uint8Array(HEADER_BYTES);
  #headerBytes = 0;
  #stream: "stdout" | "stderr" = "stdout";
  #left = 0;

  push(piece: Uint8Array): readonly OutputChunk[] {
    const chunks: OutputChunk[] = [];
    let at = 0;
    while (at < piece.length) {
      if (this.#left === 0) {
        const take = Math.min(HEADER_BYTES - this.#headerBytes, piece.length - at);
        this.#header.set(piece.subarray(at, at + take), this.#headerBytes);
        this.#headerBytes += take;
        at += take;
        if (this.#headerBytes < HEADER_BYTES) break;
        this.#stream = this.#header[0] === 2 ? "stderr" : "stdout";
        this.#left = new DataView(this.#header.buffer).getUint32(4);
        this.#headerBytes = 0;
        continue;
      }
      const take = Math.min(this.#left, piece.length - at);
      chunks.push({ stream: this.#stream, bytes: piece.subarray(at, at + take) });
      this.#left -= take;
      at += take;
    }
    return chunks;
  }
}
