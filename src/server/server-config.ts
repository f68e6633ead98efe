import type { Ipv4 } from "../model/ip.ts";
import type { ClusterSettings } from "../model/cluster.ts";

/** Everything a server has to know to start; made once, from defaults, file, environment and flags. */
export interface ServerConfig {
  readonly dataDir: string;
  /** Address and port of the HTTPS listener. */
  readonly bind: string;
  readonly port: number;
  /** Addresses and names that others reach this server by; the first one goes into the join and admin files. */
  readonly advertise: readonly string[];
  /** Also listen in plain HTTP on 127.0.0.1, without a token. Null: no. */
  readonly anonymousPort: number | null;
  /** Settings of a new cluster; a cluster that exists keeps its own. */
  readonly initial: ClusterSettings;
}

export const DEFAULT_PORT = 8443;
export const DEFAULT_ANONYMOUS_PORT = 8080;
export const DEFAULT_DATA_DIR = "/var/lib/apollo";

/** An address of this machine that others may reach it by, when none was given. */
export function chooseAdvertise(addresses: readonly { readonly address: Ipv4; readonly internal: boolean }[]): string {
  return addresses.find((each) => !each.internal)?.address ?? "127.0.0.1";
}
