import type { Grants } from "../../discovery/registry/acl/grants.ts";
import type { RegistryParts } from "../../discovery/registry/registry-parts.ts";
import type { AclToken } from "../../discovery/registry/records.ts";
import type { ScriptChecks } from "../../model/host-check.ts";
import type { HttpRequest } from "../../platform/ports/http.ts";

/** A member of the cluster as Consul's gossip would show it. */
export interface Member {
  readonly name: string;
  readonly address: string;
  readonly id: string;
  readonly server: boolean;
  readonly status: "alive" | "left" | "failed";
  /** Of a server, where servers agree; missing: Consul's 8300. */
  readonly serverPort?: number;
}

/** Who asks. */
export interface Caller {
  readonly grants: Grants;
  /** The Consul token that was shown, null for one of the platform's own or none. */
  readonly token: AclToken | null;
}

/** What the handler needs of the process that it runs in. */
export interface ConsulBackend {
  readonly parts: RegistryParts;
  /** Of the platform. */
  readonly version: string;
  readonly aclEnabled: boolean;
  readonly defaultPolicy: "allow" | "deny";
  datacenter(): string;
  /** Name of the node whose agent the client means: that of this process, or of the agent that passes the request on. */
  localNode(request: HttpRequest): string;
  /** What that node runs of the scripts that the request registers; null or missing: it is not known. */
  scripts?(request: HttpRequest): ScriptChecks | null;
  /** `address:port`, "" when there is none. */
  leader(): string;
  peers(): readonly string[];
  members(): readonly Member[];
  /** @throws AppError `denied` with details.status when the token is not known. `token` is "" for none. */
  caller(request: HttpRequest, token: string): Caller;
  /**
   * Removes a member that is down for good; `prune` also from those that are shown as left. @throws AppError 500 in Consul's
   * words when there is none, `conflict` when it is up.
   */
  forceLeave(node: string, prune: boolean): Promise<void>;
  /** Ends that node gracefully, if it is this process; missing where leaving is not this API's business. */
  readonly leave?: (node: string) => Promise<void>;
  /** Since when a server was last heard of, when this process is none; 0 when missing. */
  lastContactMs?(): number;
  readonly startedAtMs: number;
  /** Of this process; missing in tests, whose answers are compared byte for byte. */
  memory?(): { readonly usedBytes: number; readonly residentBytes: number };
  /** Of the machine, in Consul's shape of agent/host. */
  hostInfo(): object;
}
