import type { Command } from "commander";
import type { PolicyCountersJson } from "../../api/native/shapes.ts";
import { AppError } from "../../model/error.ts";
import { parseIpv6 } from "../../model/ip6.ts";
import type { PolicyAnswer, PolicyCase } from "../../network/policy/explain-policy.ts";
import { anyHost, askAgent } from "../ask-hosts.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import type { ApolloClient } from "../client.ts";
import type { Paint } from "../style.ts";

/** The answer, and what the hosts that refuse have counted of it. */
interface Explained extends PolicyAnswer {
  /** Packets from any of FROM to any of TO that were refused, by host; null for a host that does not answer. */
  readonly refused: Readonly<Record<string, number | null>>;
}

export function addNetWhy(net: Command, context: CliContext): void {
  const command = clientOptions(
    net
      .command("why")
      .argument("<app|service|address>", "who connects: also an instance, a container or host:NAME")
      .argument("<app|service|address[:PORT]>", "to whom, with :PORT and /udp if it matters")
      .description("say whether a connection is allowed, by which rule, and what would allow it"),
  );
  command.action(async (from: string, to: string) => {
    const { client, paint, show } = openSession(context, command);
    const host = await anyHost(client);
    const answer = await askAgent<PolicyAnswer>(client, host, { kind: "policy-why", from, ...parseTarget(to) });
    const explained: Explained = { ...answer, refused: await countRefused(client, answer) };
    show(explained, () => formatExplained(explained, paint));
    if (answer.cases.some(({ allowed }) => !allowed)) context.setExitCode(1);
  });
  examples(command, [
    ["May web use the database?", "apollo net why web db:5432"],
    ["From a host, over UDP", "apollo net why host:host-1 dns:53/udp"],
  ]);
}

const PROTOCOL = /^(.+?)(?:\/(tcp|udp|icmp))?$/;
/** With a port an address of that family is in brackets. */
const TARGET6 = /^(?:\[([0-9a-f:.]+)\](?::(\d{1,5}))?|([0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*))$/i;
const TARGET = /^(.+?)(?::(\d{1,5}))?$/;

/** Splits `db:53/udp`, `[fd12::7]:53/udp`, `fd12::7`; without a port it is about all ports. @throws AppError `invalid`. */
export function parseTarget(text: string): {
  readonly to: string;
  readonly port: number | null;
  readonly protocol: string;
} {
  const [, target = "", said] = PROTOCOL.exec(text) ?? [];
  const six = TARGET6.exec(target);
  const [, name, digits] = TARGET.exec(target) ?? [];
  const to = six === null ? name : parseIpv6(six[1] ?? six[3] ?? "");
  const written = six === null ? digits : six[2];
  const port = written === undefined ? null : Number(written);
  if (to === undefined || (port !== null && (port < 1 || port > 65_535))) {
    throw new AppError("invalid", `Cannot read "${text}": it must look like web, web:80 or dns:53/udp`);
  }
  const protocol = said ?? (port === null ? "icmp" : "tcp");
  return { to, port, protocol: protocol === "icmp" ? "other" : protocol };
}

async function countRefused(client: ApolloClient, answer: PolicyAnswer): Promise<Explained["refused"]> {
  const hosts = new Set(answer.cases.flatMap(({ allowed, host }) => (allowed || host === null ? [] : [host])));
  const [from, to] = [new Set<string>(answer.from.addresses), new Set<string>(answer.to.addresses)];
  const counts = await Promise.all(
    [...hosts].map(async (host) => {
      try {
        const { recent } = await askAgent<PolicyCountersJson>(client, host, { kind: "policy-counters" });
        const mine = recent.filter(({ source, destination }) => from.has(source) && to.has(destination));
        return [host, mine.reduce((sum, { packets }) => sum + packets, 0)] as const;
      } catch (error) {
        if (error instanceof AppError) return [host, null] as const;
        throw error;
      }
    }),
  );
  return Object.fromEntries(counts);
}

/** Text of `apollo net why`. */
export function formatExplained(answer: Explained, paint: Paint): string {
  const { from, to, port, protocol, cases, cure, refused } = answer;
  const ports = port === null ? (protocol === "other" ? "" : ` ${protocol}`) : ` ${protocol} ${port}`;
  const title = `${from.kind} ${from.name} to ${to.kind} ${to.name}${ports}`;
  const lines = cases.map((one) => {
    const verdict = one.allowed ? paint("green", "allowed") : paint("red", "refused");
    const pairs = cases.length > 1 || one.pairs > 1 ? `, ${one.pairs} of these pairs` : "";
    const count = one.host === null || one.allowed ? undefined : refused[one.host];
    const dropped = typeof count === "number" && count > 0 ? `; ${count} packets refused lately` : "";
    return `  ${verdict}: ${reasonOf(one)} (such as ${one.source} to ${one.destination}${pairs})${dropped}\n`;
  });
  const command = cure === null ? "" : `To allow it: ${paint("bold", cure)}\n`;
  return `${paint("bold", title)}\n${lines.join("")}${command}`;
}

function reasonOf(one: PolicyCase): string {
  const at = one.host === null ? "" : `, on host ${one.host}`;
  switch (one.reason) {
    case "outside":
      return "policy is about connections to containers, and this is none";
    case "same":
      return "a container reaches itself";
    case "open":
      return `network ${one.network} is open and no rule closes the destination`;
    case "rule":
      return `rule ${one.by} allows it${at}`;
    case "not-allowed":
      return `the destination is closed by ${one.rules.length === 1 ? "rule" : "rules"} ${one.rules.join(", ")}, and none allows this${at}`;
    case "border":
      return `they are on different networks, and no rule opens the border of network ${one.network} for them${at}`;
    case "closed":
      return `network ${one.network} is closed and no rule is about the destination${at}`;
  }
}
