/** What each host tells of itself and of those that it looked at; what it means is `explainDoctor`'s to say. */
import { z } from "zod";
import { isIpv4 } from "../../model/ip.ts";
import { type HostAddress, isIpv6 } from "../../model/ip6.ts";

const text = z.string().max(2000);
const address = z.custom<HostAddress>(
  (value) => typeof value === "string" && (isIpv4(value) || isIpv6(value)),
  "must be an IPv4 or IPv6 address",
);

/** Ports that hosts speak to each other by, with what for. */
export const UNDERLAY_PORTS = { 6783: "probes", 6784: "VXLAN", 6785: "WireGuard" } as const;
/** Those that the doctor tries itself; the first is probed all the time. */
export const TRIED_PORTS: readonly number[] = [6784, 6785];

export const doctorQuestionShape = z.object({
  token: z.string().regex(/^[0-9a-f]{32}$/),
  peers: z.array(z.object({ name: z.string().min(1).max(253), address })).max(64),
  forMs: z.number().int().min(0).max(5000).default(2500),
});
export type DoctorQuestion = z.infer<typeof doctorQuestionShape>;

export const findingShape = z.object({
  check: z.string().max(64),
  state: z.enum(["ok", "warning", "error"]),
  text,
  hint: text.nullable(),
});
/** One check of a host by itself. */
export type LocalFinding = z.infer<typeof findingShape>;

export const hostFactsShape = z.object({
  host: text,
  /** The host's clock when it was asked, ms since 1970. */
  nowMs: z.number(),
  address: address.nullable(),
  findings: z.array(findingShape).max(200),
  links: z
    .array(
      z.object({
        peer: text,
        mode: text,
        up: z.boolean().nullable(),
        rttMs: z.number().nullable(),
        lossPercent: z.number(),
        mtu: z.number().nullable(),
        deviceMtu: z.number().nullable(),
        why: text,
      }),
    )
    .max(10_000),
  exchange: z.object({
    opened: z.array(z.number()).max(10),
    heard: z.array(z.object({ from: text, port: z.number() })).max(1000),
  }),
});
export type HostFacts = z.infer<typeof hostFactsShape>;

export interface DoctorHost {
  readonly name: string;
  readonly address: string;
  /** Null while its agent has not told. */
  readonly agentVersion: string | null;
}

/** What `apollo net doctor --json` prints: stable. */
export interface DoctorFinding extends LocalFinding {
  readonly host: string | null;
  /** The other host of a pair. */
  readonly peer: string | null;
}

export interface DoctorReport {
  readonly ok: boolean;
  readonly hosts: number;
  /** Pairs that were looked at, each direction for itself, of how many there are. */
  readonly pairs: { readonly checked: number; readonly total: number };
  readonly findings: readonly DoctorFinding[];
}
