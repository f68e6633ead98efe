/** A wire that ends in a bridge of this host. */
export interface BridgePort {
  readonly device: string;
  readonly index: number;
  /** Interface index of the other end, in the namespace that it lies in. */
  readonly farIndex: number;
}

/** An interface inside a container, with what tells the other end of its wire. */
export interface FarPort {
  readonly index: number;
  /** Interface index of the host's end. */
  readonly nearIndex: number;
  readonly mac: string;
}

/** The bridges of this host, as far as it takes to tell which container is behind which port. */
export interface BridgePorts {
  /** The wires that end in `bridge`; null when there is no such bridge. @throws AppError `unavailable`. */
  list(bridge: string): Promise<readonly BridgePort[] | null>;
  /** The wires that end in no bridge at all: those of a bridge that was deleted, and of others. @throws AppError `unavailable`. */
  loose(): Promise<readonly BridgePort[]>;
  /** The wires that end in the network of process `pid`, which is entered for it; null when it has ended. */
  farPorts(pid: number): Promise<readonly FarPort[] | null>;
  /** Plugs a wire into `bridge`; one that is plugged in there already is fine. @throws AppError `unavailable`. */
  plug(device: string, bridge: string): Promise<void>;
  /** Indexes of the interfaces that the process `pid` has; null when it has ended. Does not enter its namespace. */
  indexesOf(pid: number): Promise<readonly number[] | null>;
  /** Calls when a port of `bridge` may have come or gone, until aborted. */
  watch(bridge: string, onChange: () => void, signal: AbortSignal): Promise<void>;
}
