/** What agents know of Consul's API to answer in its sense without a server. */

/** Consul's ACLs: none, or what holds where no rule does. */
export type ConsulAcl = "off" | "allow" | "deny";

/** A prepared query: a service with conditions under a name, or a template for all names of a kind. */
export interface NamedQuery {
  readonly id: string;
  readonly name: string;
  readonly template: { readonly type: string; readonly regexp: string; readonly removeEmptyTags: boolean };
  readonly service: {
    readonly service: string;
    readonly onlyPassing: boolean;
    readonly near: string;
    readonly tags: readonly string[];
    readonly nodeMeta: Readonly<Record<string, string>>;
    readonly serviceMeta: Readonly<Record<string, string>>;
    readonly ignoreCheckIds: readonly string[];
    readonly nearestN: number;
    readonly datacenters: readonly string[];
  };
  /** As given, "" for none. */
  readonly dnsTtl: string;
}

export interface ConsulFacts {
  readonly acl: ConsulAcl;
  readonly queries: readonly NamedQuery[];
  /** `https://ADDRESS:PORT` of each server, when there are several: one of them leads. */
  readonly servers?: readonly string[];
}
