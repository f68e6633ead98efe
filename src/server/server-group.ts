/** One of several servers of a cluster. */
export interface GroupServer {
  /** Of its node. */
  readonly name: string;
  readonly address: string;
  /** Where agents and other servers reach it: `https://ADDRESS:PORT`. */
  readonly url: string;
  /** `ADDRESS:PORT` that servers agree over. */
  readonly peer: string;
}

/** The servers of a cluster, as the one of them that leads knows them. */
export interface ServerGroup {
  /** By name. */
  list(): readonly GroupServer[];
  onChange(listener: () => void): void;
  /** Takes a server that will not come back out of the group; a name that is none of a server is fine. */
  remove(name: string): Promise<void>;
}
