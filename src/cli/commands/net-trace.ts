import type { Command } from "commander";
import { AppError } from "../../model/error.ts";
import { runTrace } from "../../network/trace/run-trace.ts";
import { NOT_REACHED } from "../../network/trace/explain-trace.ts";
import type { StepName, TraceQuestion, TraceReport, TraceStep } from "../../network/trace/trace-facts.ts";
import { askLocalAgent } from "../ask-local-agent.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import { type Paint, paintFor } from "../style.ts";
import { wrapWords } from "../wrap-words.ts";
import { parseTarget } from "./net-why.ts";

interface TraceFlags extends ClientFlags {
  readonly local?: boolean;
  readonly ipv6?: boolean;
}

const TITLES: Readonly<Record<StepName, string>> = {
  from: "from",
  name: "name",
  endpoint: "endpoint",
  wire: "bridge",
  route: "route",
  policy: "policy",
  link: "link",
  agent: "agent",
  block: "address",
  bridge: "bridge",
  container: "container",
  port: "port",
  health: "health",
  firewall: "firewall",
  connect: "connect",
  packets: "packets",
};
const HERE_MS = 2000;

export function addNetTrace(net: Command, context: CliContext): void {
  const command = clientOptions(
    net
      .command("trace")
      .argument(
        "<app|service|instance>",
        "FROM, who connects: also a container, host:NAME or an address; TO when it stands alone",
      )
      .argument(
        "[app|service|instance]",
        "TO, with :PORT and /udp if it matters: also a container, DNS name, host:NAME or address",
      )
      .usage("[options] [FROM] TO[:PORT]")
      .summary("walk a connection from end to end and say where it breaks")
      .description(
        "Walks name, address, route, policy, link, the host at the other end, container and port, then tries the connection and large packets " +
          "from where FROM is. Says which step breaks it, with a command that mends it. Exit code 0: all is well; 1: something is broken.",
      )
      .option("-6, --ipv6", "by IPv6; of itself for IPv6 addresses")
      .option("--local", "ask no server: only the agent of this machine, about its own end"),
  );
  command.action(async (first: string, second: string | undefined) => {
    const flags = command.optsWithGlobals<TraceFlags>();
    const [from, to] = second === undefined ? [null, first] : [first, second];
    const question = readQuestion(from, to, flags.ipv6 === true ? 6 : null);
    const report = await (flags.local === true
      ? traceLocally(context, question)
      : traceByServer(context, command, question));
    const text = (): string => formatTrace(report, paintFor(context.stdout), context.stdout.columns());
    context.stdout.write(flags.json === true ? `${JSON.stringify(report, null, 2)}\n` : text());
    if (!report.ok) context.setExitCode(1);
  });
  examples(command, [
    ["Why does web not reach its database?", "apollo net trace web db:5432"],
    ["By IPv6", "apollo net trace -6 web db:5432"],
    ["From this machine", "apollo net trace web.service.consul:80"],
    ["From another host, over UDP", "apollo net trace host:host-2 dns:53/udp"],
    ["With the server away", "apollo net trace --local web db"],
  ]);
}

function readQuestion(from: string | null, text: string, family: 6 | null): TraceQuestion {
  // host:NAME has a colon of its own.
  const prefix = text.startsWith("host:") ? "host:" : "";
  const { to, port, protocol } = parseTarget(text.slice(prefix.length));
  if (protocol === "other" && text.endsWith("/icmp")) {
    throw new AppError(
      "invalid",
      `Cannot trace "${text}": trace is about TCP and UDP; packets are tried by themselves`,
    );
  }
  return { from, to: prefix + to, port, protocol: protocol === "udp" ? "udp" : "tcp", family };
}

async function traceByServer(context: CliContext, command: Command, question: TraceQuestion): Promise<TraceReport> {
  const { client } = openSession(context, command);
  const here = question.from === null ? await findHere(context) : null;
  return client.request<TraceReport>("POST", "/api/trace", { body: { ...question, here } });
}

/** Name of the host that this machine is; null when it is none. */
export async function findHere(context: CliContext): Promise<string | null> {
  try {
    return (await askLocalAgent<{ readonly host: string }>(context, { kind: "trace-here" }, HERE_MS)).host;
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

async function traceLocally(context: CliContext, question: TraceQuestion): Promise<TraceReport> {
  const { host: here } = await askLocalAgent<{ readonly host: string }>(context, { kind: "trace-here" });
  const world = {
    ask: async (host: string, asked: { readonly kind: string }): Promise<unknown> => {
      if (host === here) return askLocalAgent(context, { ...asked });
      throw new AppError("unavailable", `host ${host} was not asked, since no server was`, {
        hint: "apollo net trace, without --local",
      });
    },
    hosts: [here],
    alone: true,
    truth: async () => null,
    clock: context.clock,
  };
  return runTrace(world, question, here);
}

const MARKS = { ok: "ok", broken: "BROKEN", skipped: "-" } as const;

/** Text of `apollo net trace`: one line a step, folded to the terminal's width, the hint under a broken one. */
export function formatTrace(report: TraceReport, paint: Paint, columns: number): string {
  const { from, to, port, protocol, steps } = report;
  const title = `${from} → ${to}${port === null || to.endsWith(`:${port}`) ? "" : `:${port}`} (${protocol})`;
  const hosts = Math.max(0, ...steps.map(({ host }) => host?.length ?? 0));
  // What the walk did not come to needs no line each; JSON has all steps.
  const shown = steps.filter(({ state, seen }) => state !== "skipped" || seen !== NOT_REACHED);
  const lines = shown.map((step) => formatStep(step, { paint, columns, hosts }));
  return `${paint("bold", title)}\n${lines.join("")}${verdict(report, paint)}`;
}

interface Layout {
  readonly paint: Paint;
  readonly columns: number;
  /** Width of the column of hosts. */
  readonly hosts: number;
}

function formatStep({ name, host, state, seen, ms, hint }: TraceStep, { paint, columns, hosts }: Layout): string {
  const head = `  ${MARKS[state].padEnd(6)}  ${TITLES[name].padEnd(9)}  ${(host ?? "").padEnd(hosts)}  `;
  const color = state === "ok" ? "green" : state === "broken" ? "red" : "dim";
  const time = ms === null ? "" : ` (${ms} ms)`;
  const indent = " ".repeat(head.length);
  const body = wrapWords(`${seen}${time}`, columns - head.length).join(`\n${indent}`);
  const painted = head.replace(MARKS[state], (mark) => paint(color, mark));
  const shown = state === "skipped" ? paint("dim", body) : body;
  // A command is not folded: it is there to be copied.
  const cure = hint === null ? "" : `${indent}${paint("bold", hint)}\n`;
  return `${painted}${shown}\n${cure}`;
}

function verdict({ ok, broken, steps }: TraceReport, paint: Paint): string {
  if (ok) return `${paint("green", "All is well.")}\n`;
  const others = steps.filter(({ state }) => state === "broken").length - 1;
  const rest =
    others > 0 ? `; ${others} more ${others === 1 ? "step is" : "steps are"} broken, mostly because of it` : "";
  return `${paint("red", `Breaks at: ${broken === null ? "" : TITLES[broken]}`)}${rest}\n`;
}
