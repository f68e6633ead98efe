import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";

/**
 * The shape of a lab. Two layer-2 segments joined by a router, so that one lab has both kinds of neighbours: every third
 * host lies behind the router and is reached by VXLAN, the others are reached directly.
 */
export interface LabPlan {
  readonly name: string;
  readonly segments: readonly LabSegment[];
  /** The server first, then the hosts by number. */
  readonly nodes: readonly LabNode[];
}

export interface LabSegment {
  readonly number: 1 | 2;
  /** Bridge in the fabric's namespace. */
  readonly bridge: string;
  /** The fabric's own address there: gateway, resolver and registry of the segment. */
  readonly gateway: Ipv4;
  readonly prefix: number;
}

export interface LabNode {
  /** `s1` or `h1`, `h2`, …; also the name of its port on the fabric. */
  readonly name: string;
  readonly role: "server" | "host";
  readonly segment: 1 | 2;
  readonly address: Ipv4;
  readonly gateway: Ipv4;
  /** Packet mark that frames from this node carry inside the fabric, for cutting links. */
  readonly mark: number;
}

/** Host numbers end in the last byte of an address, above the fabric's and the server's. */
export const LAB_HOSTS_MAX = 60;
export const REGISTRY = "registry.lab:5000";
/** A name outside the cluster that the fabric's resolver knows, and its address (RFC 5737). */
export const OUTSIDE_NAME = "outside.test";
export const OUTSIDE_ADDRESS = "203.0.113.7" as Ipv4;
export const SERVER_NODE = "s1";

const SEGMENTS: readonly LabSegment[] = [
  { number: 1, bridge: "seg1", gateway: "10.77.1.1" as Ipv4, prefix: 24 },
  { number: 2, bridge: "seg2", gateway: "10.77.2.1" as Ipv4, prefix: 24 },
];
/** Short enough that unix socket paths and namespace names below it stay within their limits. */
const NAME_PATTERN = /^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$/;

export function isLabName(text: string): boolean {
  return NAME_PATTERN.test(text);
}

/** Reads a lab's name. @throws AppError `invalid`. */
export function parseLabName(text: string): string {
  if (!isLabName(text)) {
    throw new AppError("invalid", `Cannot use lab name "${text}": it must be 1 to 20 of a-z, 0-9 and inner dashes`);
  }
  return text;
}

/** A name no other lab has by chance; `uuid` brings the chance. */
export function labNameFrom(uuid: string): string {
  return `lab-${uuid.replaceAll("-", "").slice(0, 6)}`;
}

/** @throws AppError `invalid` when the name or the number of hosts cannot be used. */
export function planLab(name: string, hosts: number): LabPlan {
  if (!Number.isInteger(hosts) || hosts < 1 || hosts > LAB_HOSTS_MAX) {
    throw new AppError("invalid", `Cannot plan a lab of ${hosts} hosts: it must be 1 to ${LAB_HOSTS_MAX}`);
  }
  const server = planNode(SERVER_NODE, "server", 0);
  const rest = Array.from({ length: hosts }, (_, index) => planNode(`h${index + 1}`, "host", index + 1));
  return { name: parseLabName(name), segments: SEGMENTS, nodes: [server, ...rest] };
}

function planNode(name: string, role: LabNode["role"], number: number): LabNode {
  const segment = number > 0 && number % 3 === 0 ? 2 : 1;
  const last = role === "server" ? 2 : 10 + number;
  return {
    name,
    role,
    segment,
    address: `10.77.${segment}.${last}` as Ipv4,
    gateway: `10.77.${segment}.1` as Ipv4,
    // 0 is the mark of everything that the fabric itself sends.
    mark: number + 1,
  };
}

/** @throws AppError `not-found` naming the nodes there are. */
export function nodeOf(plan: LabPlan, name: string): LabNode {
  const node = plan.nodes.find((candidate) => candidate.name === name);
  if (node === undefined) {
    const names = plan.nodes.map((candidate) => candidate.name).join(", ");
    throw new AppError("not-found", `Cannot find host "${name}" in lab "${plan.name}": it has ${names}`);
  }
  return node;
}

/** Name of a network namespace as `ip netns` lists it; `part` is a node's name or `fabric`. */
export function namespaceOf(lab: string, part: string): string {
  return `apl-${lab}-${part}`;
}

/** Cgroup below every controller that holds a host's containers. */
export function cgroupOf(lab: string, node: string): string {
  return `apl-${lab}-${node}`;
}
