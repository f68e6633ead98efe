import type { DnsCounts } from "../../model/wire.ts";
import type { LinkJson } from "./shapes.ts";

const MODES: readonly LinkJson["mode"][] = ["direct", "vxlan", "wireguard", "relay", "none"];

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type?: "counter";
  /** Null: not known, so not there. */
  readonly value: (link: LinkJson) => number | null;
}

const METRICS: readonly Metric[] = [
  {
    name: "apollo_link_up",
    help: "1 while the peer answers probes",
    value: ({ up }) => (up === null ? null : Number(up)),
  },
  {
    name: "apollo_link_rtt_seconds",
    help: "Smoothed round trip of probes",
    // Rounded to microseconds: a quotient of floats would end in noise.
    value: ({ rttMs }) => (rttMs === null ? null : Math.round(rttMs * 1000) / 1_000_000),
  },
  {
    name: "apollo_link_loss_ratio",
    help: "Probes of the last 50 that were not answered",
    value: ({ lossPercent }) => lossPercent / 100,
  },
  { name: "apollo_link_mtu_bytes", help: "Largest packet that containers can send whole", value: ({ mtu }) => mtu },
  {
    name: "apollo_link_sent_bytes_total",
    help: "Bytes of packets from containers and this host to containers and the host of the peer",
    type: "counter",
    value: ({ txBytes }) => txBytes,
  },
  {
    name: "apollo_link_received_bytes_total",
    help: "Bytes of packets from containers and the host of the peer to those here",
    type: "counter",
    value: ({ rxBytes }) => rxBytes,
  },
];

/** Text for Prometheus, one sample for each link: its format is the exposition format 0.0.4. */
export function renderLinkMetrics(links: readonly LinkJson[]): string {
  const labels = ({ host, peer }: LinkJson): string => `host="${escape(host)}",peer="${escape(peer)}"`;
  const blocks = METRICS.map(({ name, help, type, value }) => {
    const samples = links.flatMap((link) => {
      const number = value(link);
      return number === null ? [] : [`${name}{${labels(link)}} ${number}`];
    });
    return block(name, help, samples, type);
  });
  const modes = links.flatMap((link) =>
    MODES.map((mode) => `apollo_link_mode{${labels(link)},mode="${mode}"} ${Number(link.mode === mode)}`),
  );
  return [...blocks, block("apollo_link_mode", "1 for the mode that the link is in", modes)].join("");
}

/** The same of the DNS questions of containers and hosts, one sample for each host with a fast path. */
export function renderDnsMetrics(counts: ReadonlyMap<string, DnsCounts>): string {
  const samples = (name: string, value: (of: DnsCounts) => number): readonly string[] =>
    [...counts].map(([host, of]) => `${name}{host="${escape(host)}"} ${value(of)}`);
  const [answered, passed] = ["apollo_dns_kernel_answers_total", "apollo_dns_agent_questions_total"];
  return [
    block(
      answered,
      "DNS questions of containers and hosts that the kernel answered",
      samples(answered, (of) => of.answered),
      "counter",
    ),
    block(
      passed,
      "DNS questions of containers and hosts over UDP that the kernel left to the agent",
      samples(passed, (of) => of.passed),
      "counter",
    ),
  ].join("");
}

function block(name: string, help: string, samples: readonly string[], type: "gauge" | "counter" = "gauge"): string {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples, ""].join("\n");
}

function escape(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
