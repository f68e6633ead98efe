/** A wire that ends in a bridge of this host. */
export interface BridgePort {
  readonly device: string;
  readonly index: number;
  /** Interface index of the other end, in the namespace that it lies in. */
  readonly farIndex: number;
}

/** The bridges of this host, as far as it takes to tell which container is behind which port. */
export interface BridgePorts {
  /** The wires that end in `bridge`; [] when there is no such bridge. @throws AppError `unavailable`. */
  list(bridge: string): Promise<readonly BridgePort[]>;
  /** Indexes of the interfaces that the process `pid` has; null when it has ended. Does not enter its namespace. */
  indexesOf(pid: number): Promise<readonly number[] | null>;
  /** Calls when a port of `bridge` may have come or gone, until aborted. */
  watch(bridge: string, onChange: () => void, signal: AbortSignal): Promise<void>;
}
