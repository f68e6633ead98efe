/** What a machine needs of a server before it is a host. */
export interface JoinClient {
  /**
   * The CA certificate that the server at `url` shows, as PEM, not verified by anything yet, with its fingerprint:
   * SHA-256 of the DER, base64url. @throws AppError `unavailable`.
   */
  fetchCa(url: string): Promise<{ readonly pem: string; readonly fingerprint: string }>;
  /** Sends JSON to a server whose certificate that CA has signed. @throws AppError as the server answers, or `unavailable`. */
  post(request: {
    readonly url: string;
    readonly path: string;
    readonly bearer: string;
    readonly caPem: string;
    readonly body: unknown;
  }): Promise<unknown>;
}
