/** The nouns of the registry, in Consul's sense of them. Plain data: what is stored is exactly this. */
import type { CheckStatus } from "../../model/host-check.ts";
import type { TemplatedPolicy } from "./acl/templated-policies.ts";
import type { NamedQuery } from "../../model/consul.ts";

/** When a record was made and last changed, on the registry's index. */
export interface Stamped {
  readonly createIndex: number;
  readonly modifyIndex: number;
}

export type StringMap = Readonly<Record<string, string>>;

export interface KvEntry extends Stamped {
  readonly key: string;
  /** Base64; null for no value at all. */
  readonly value: string | null;
  /** Decimal text of an unsigned 64-bit number. */
  readonly flags: string;
  /** How often the key was locked by a new holder. */
  readonly lockIndex: number;
  /** Holder of the lock. */
  readonly session: string | null;
}

export type SessionBehavior = "release" | "delete";

export interface Session extends Stamped {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly lockDelayMs: number;
  readonly behavior: SessionBehavior;
  /** As given, "" for none. */
  readonly ttl: string;
  readonly ttlMs: number;
  readonly nodeChecks: readonly string[];
  readonly serviceChecks: readonly { readonly id: string; readonly namespace: string }[];
}

/** Who put a record into the catalog: a client of the API, or the platform itself. */
export type Origin = "api" | "platform";

export interface NodeRecord extends Stamped {
  readonly id: string;
  readonly node: string;
  readonly address: string;
  readonly taggedAddresses: StringMap;
  readonly meta: StringMap;
  readonly origin: Origin;
}

export interface Weights {
  readonly passing: number;
  readonly warning: number;
}

export interface ServiceRecord extends Stamped {
  readonly node: string;
  readonly id: string;
  readonly name: string;
  readonly kind: string;
  readonly tags: readonly string[];
  readonly address: string;
  readonly taggedAddresses: Readonly<Record<string, { readonly address: string; readonly port: number }>>;
  readonly port: number;
  readonly socketPath: string;
  readonly meta: StringMap;
  readonly weights: Weights;
  readonly enableTagOverride: boolean;
  /** Consul's mesh fields, kept as they came. */
  readonly proxy: Readonly<Record<string, unknown>>;
  readonly connect: Readonly<Record<string, unknown>>;
  readonly origin: Origin;
}

export type { CheckStatus };

/** What is run, and when; as the client defined it. Empty for checks that somebody else reports. */
export type CheckDefinition = Readonly<Record<string, unknown>>;

export interface CheckRecord extends Stamped {
  readonly node: string;
  readonly id: string;
  readonly name: string;
  readonly status: CheckStatus;
  readonly notes: string;
  readonly output: string;
  /** "" for a check of the node. */
  readonly serviceId: string;
  readonly serviceName: string;
  readonly serviceTags: readonly string[];
  readonly type: string;
  readonly interval: string;
  readonly timeout: string;
  readonly definition: CheckDefinition;
  /** Time to live of a TTL check, 0 for others. */
  readonly ttlMs: number;
  /** Critical for so long takes the service away; 0 for never. */
  readonly deregisterAfterMs: number;
  readonly origin: Origin;
}

export interface PreparedQuery extends Stamped, NamedQuery {
  readonly session: string;
  readonly token: string;
}

export interface AclLink {
  readonly id: string;
  readonly name: string;
}

export interface AclToken extends Stamped {
  readonly accessorId: string;
  readonly secretId: string;
  readonly description: string;
  readonly policies: readonly AclLink[];
  readonly roles: readonly AclLink[];
  readonly serviceIdentities: readonly { readonly serviceName: string; readonly datacenters: readonly string[] }[];
  readonly nodeIdentities: readonly { readonly nodeName: string; readonly datacenter: string }[];
  /** Missing in rows of older versions. */
  readonly templatedPolicies?: readonly TemplatedPolicy[];
  readonly local: boolean;
  readonly createdAtMs: number;
  /** Null: never. */
  readonly expiresAtMs: number | null;
}

export interface AclPolicy extends Stamped {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  /** HCL or JSON, as given. */
  readonly rules: string;
  readonly datacenters: readonly string[];
}

export interface AclRole extends Stamped {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly policies: readonly AclLink[];
  readonly serviceIdentities: AclToken["serviceIdentities"];
  readonly nodeIdentities: AclToken["nodeIdentities"];
  readonly templatedPolicies?: readonly TemplatedPolicy[];
}

/** Keys that nobody may lock for a while, since a session that held them ended. */
export interface LockDelayRecord extends Stamped {
  /** The session's, and which part of its keys. */
  readonly id: string;
  readonly keys: readonly string[];
  readonly delayMs: number;
}

/** The stored tables and their rows. */
export interface Rows {
  readonly kv: KvEntry;
  readonly session: Session;
  readonly node: NodeRecord;
  readonly service: ServiceRecord;
  readonly check: CheckRecord;
  readonly query: PreparedQuery;
  readonly token: AclToken;
  readonly policy: AclPolicy;
  readonly role: AclRole;
  readonly lockDelay: LockDelayRecord;
}

export type TableName = keyof Rows;

export const TABLES: readonly TableName[] = [
  "kv",
  "session",
  "node",
  "service",
  "check",
  "query",
  "token",
  "policy",
  "role",
  "lockDelay",
];

/** Id of a service or check in its table: names of nodes have no NUL. */
export function onNode(node: string, id: string): string {
  return `${node}\0${id}`;
}

/** Whether a value may be a row of that table: what comes out of a file is looked at once. */
export function isRow(table: unknown, row: unknown): boolean {
  if (typeof row !== "object" || row === null) return false;
  return TABLES.some((each) => each === table) && "createIndex" in row && "modifyIndex" in row;
}
