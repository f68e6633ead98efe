/** DNS over TCP: every message has its length before it, in two bytes (RFC 1035 §4.2.2). */

const LENGTH_BYTES = 2;

/** Puts messages together from however TCP cut them. Holds at most one message of 64 KiB. */
export class FrameReader {
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  /** Nothing can be complete before so many bytes are here: a sender of single bytes does not make us copy for each. */
  #wanted = LENGTH_BYTES;

  /** Messages that are complete with these bytes, in order; they share no memory with `bytes`. */
  push(bytes: Uint8Array): readonly Uint8Array[] {
    // Not `slice`, which on a Buffer is a view of memory that the socket uses again.
    this.#chunks.push(new Uint8Array(bytes));
    this.#bytes += bytes.length;
    if (this.#bytes < this.#wanted) return [];
    const all = join(this.#chunks, this.#bytes);
    const messages: Uint8Array[] = [];
    let offset = 0;
    for (;;) {
      const end = offset + LENGTH_BYTES + (((all[offset] ?? 0) << 8) | (all[offset + 1] ?? 0));
      const known = offset + LENGTH_BYTES <= all.length;
      this.#wanted = known ? end - offset : LENGTH_BYTES;
      if (!known || end > all.length) break;
      messages.push(all.subarray(offset + LENGTH_BYTES, end));
      offset = end;
    }
    this.#chunks = [all.slice(offset)];
    this.#bytes = all.length - offset;
    return messages;
  }
}

export function frame(message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(LENGTH_BYTES + message.length);
  framed[0] = message.length >>> 8;
  framed[1] = message.length;
  framed.set(message, LENGTH_BYTES);
  return framed;
}

function join(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}
