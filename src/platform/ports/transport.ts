/** What happens on a connection to a server. Called one at a time and in order; must not throw operating errors. */
export interface TransportListener {
  frame(text: string): void;
  /** The connection ended, by either side or because it broke; called once. */
  closed(reason: string): void;
}

export interface TransportConnection {
  /** Frames sent after the end are dropped. */
  send(frame: string): void;
  /** Bytes that wait for a slow network or server. */
  bufferedBytes(): number;
  close(): void;
}

/** The agent's way to a server: a verified, authenticated stream of text frames. */
export interface Transport {
  /**
   * Opens a connection to `url` (`https://host:port`) within `timeoutMs`.
   * @throws AppError `denied` when the server does not take the credential, `unavailable` when it cannot be reached or
   *   its certificate is not the cluster's.
   */
  connect(url: string, listener: TransportListener, timeoutMs: number): Promise<TransportConnection>;
}
