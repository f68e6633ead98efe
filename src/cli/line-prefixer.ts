/** A line of a program that never ends it is shown in parts of this size. */
const LINE_BYTES_MAX = 64 * 1024;
const NEWLINE = 10;

/** Puts a prefix before each line of a byte stream; without one, bytes pass as they come. */
export class LinePrefixer {
  readonly #prefix: Uint8Array;
  readonly #sink: (bytes: Uint8Array) => void;
  #rest: Uint8Array = new Uint8Array();

  constructor(prefix: string, sink: (bytes: Uint8Array) => void) {
    this.#prefix = new TextEncoder().encode(prefix);
    this.#sink = sink;
  }

  /** Whole lines go on at once, so that lines of two streams do not mix; the rest waits for its end. */
  write(bytes: Uint8Array): void {
    if (this.#prefix.length === 0) {
      this.#sink(bytes);
      return;
    }
    let all = Buffer.concat([this.#rest, bytes]);
    for (;;) {
      const end = all.indexOf(NEWLINE);
      if (end < 0) break;
      this.#emit(all.subarray(0, end + 1));
      all = all.subarray(end + 1);
    }
    this.#rest = all;
    if (all.length > LINE_BYTES_MAX) this.end();
  }

  /** The stream ended, perhaps within a line. */
  end(): void {
    if (this.#rest.length > 0) this.#emit(Buffer.concat([this.#rest, Buffer.from("\n")]));
    this.#rest = new Uint8Array();
  }

  #emit(line: Uint8Array): void {
    this.#sink(Buffer.concat([this.#prefix, line]));
  }
}
