import type { HttpRequest, HttpResponse } from "./http.ts";

export interface UnixListenOptions {
  readonly path: string;
  /** Of the socket file; its directory is made with 0755 when it is not there. */
  readonly mode: number;
  readonly bodyBytesMax: number;
  /** A request that takes longer is answered with 503, and its signal aborts. */
  readonly requestTimeoutMs: number;
  /** AppErrors are for the handler to answer; anything else is answered with 500 and logged. */
  readonly handle: (request: HttpRequest) => Promise<HttpResponse>;
}

/** HTTP over a socket file of this host. */
export interface UnixListener {
  /**
   * A file that an ended process left behind is replaced. @throws AppError `conflict` when somebody listens there,
   * `unavailable` when the file cannot be made.
   */
  listen(options: UnixListenOptions): Promise<{
    /** Ends open requests and removes the file, so that clients are refused at once. */
    close(): Promise<void>;
  }>;
}
