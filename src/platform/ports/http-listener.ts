import type { HttpHandler, HttpRequest } from "./http.ts";

export interface HttpListenOptions {
  readonly address: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly handle: HttpHandler;
  /** Requests that see to their own end: no time is set for them. */
  readonly isLong: (request: HttpRequest) => boolean;
  /** Requests whose bodies may be large; missing: none. */
  readonly isLarge?: (request: HttpRequest) => boolean;
}

export interface HttpBinding {
  readonly port: number;
  /** Stops listening and ends what is under way after that time. */
  close(graceMs: number): Promise<void>;
}

/** Plain HTTP on an address of this host. */
export interface HttpListener {
  /** @throws AppError `conflict` when the port is taken, `unavailable` when the address is not this machine's. */
  listen(options: HttpListenOptions): HttpBinding;
}
