import type { Command } from "commander";
import { AppError } from "../../model/error.ts";
import type { DoctorFinding, DoctorReport } from "../../network/doctor/doctor-facts.ts";
import { runDoctor } from "../../network/doctor/run-doctor.ts";
import { askLocalAgent } from "../ask-local-agent.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import { withHost } from "../find-named.ts";
import { type Paint, paintFor } from "../style.ts";
import { wrapWords } from "../wrap-words.ts";

interface DoctorFlags extends ClientFlags {
  readonly host?: string;
  readonly local?: boolean;
  readonly verbose?: boolean;
}

export function addNetDoctor(net: Command, context: CliContext): void {
  const command = clientOptions(
    net
      .command("doctor")
      .summary("check every host and every pair of hosts, with a cure for what is wrong")
      .description(
        "Every host looks at itself (kernel, programs, firewall, range, engine, resolver, disk) and at the others (links, MTU both ways, UDP ports, " +
          "clocks, versions). Up to 32 hosts all pairs; of more each host looks at those 1, 2, 4, 8 … places away. Exit code 0: all is well; 1: see the findings.",
      )
      .option("--host <host>", "only this one and its pairs")
      .option("--local", "ask no server: only the agent of this machine, about itself")
      .option("--verbose", "also show what is well"),
  );
  command.action(async () => {
    const flags = command.optsWithGlobals<DoctorFlags>();
    const report = await (flags.local === true ? doctorLocally(context) : doctorByServer(context, command));
    const text = (): string =>
      formatDoctor(report, paintFor(context.stdout), {
        columns: context.stdout.columns(),
        verbose: flags.verbose === true,
      });
    context.stdout.write(flags.json === true ? `${JSON.stringify(report, null, 2)}\n` : text());
    if (!report.ok) context.setExitCode(1);
  });
  examples(command, [
    ["Everything", "apollo net doctor"],
    ["A host that misbehaves, with all that was looked at", "apollo net doctor --host host-2 --verbose"],
    ["On a machine that does not reach its server", "apollo net doctor --local"],
  ]);
}

async function doctorByServer(context: CliContext, command: Command): Promise<DoctorReport> {
  const { client, flags } = openSession<DoctorFlags>(context, command);
  const { host } = flags;
  const path = host === undefined ? "/api/doctor" : `/api/doctor?host=${encodeURIComponent(host)}`;
  const ask = (): Promise<DoctorReport> => client.request<DoctorReport>("POST", path);
  return host === undefined ? ask() : withHost(client, host, ask);
}

async function doctorLocally(context: CliContext): Promise<DoctorReport> {
  const { host } = await askLocalAgent<{ readonly host: string }>(context, { kind: "trace-here" });
  const world = {
    ask: async (name: string, question: { readonly kind: string }): Promise<unknown> => {
      if (name === host) return askLocalAgent(context, { ...question, forMs: 0 });
      throw new AppError("unavailable", `Cannot ask host "${name}": no server was to be asked`);
    },
    clock: context.clock,
  };
  const hosts = [{ name: host, address: "", agentVersion: null }];
  return runDoctor(world, { hosts, only: null, token: "0".repeat(32) });
}

/** Text of `apollo net doctor`: a line a finding with its cure below, then what was looked at. */
export function formatDoctor(
  report: DoctorReport,
  paint: Paint,
  { columns, verbose }: { readonly columns: number; readonly verbose: boolean },
): string {
  const { findings, hosts, pairs } = report;
  const shown = verbose ? findings : findings.filter(({ state }) => state !== "ok");
  const width = (value: (finding: DoctorFinding) => string): number =>
    Math.max(0, ...shown.map((each) => value(each).length));
  const widths = { host: width(subject), check: width(({ check }) => check) };
  const lines = shown.map((finding) => formatFinding(finding, paint, { ...widths, columns }));
  const count = (state: DoctorFinding["state"]): number => findings.filter((each) => each.state === state).length;
  const [errors, warnings, well] = [count("error"), count("warning"), count("ok")];
  const sample = pairs.checked < pairs.total ? ` of ${pairs.total}` : "";
  const looked = `${hosts} ${hosts === 1 ? "host" : "hosts"}, ${pairs.checked}${sample} pairs, ${findings.length} checks: `;
  const sum = `${errors} ${errors === 1 ? "error" : "errors"}, ${warnings} ${warnings === 1 ? "warning" : "warnings"}, ${well} well\n`;
  return `${lines.join("")}${looked}${report.ok ? paint("green", sum) : sum}`;
}

interface Layout {
  readonly host: number;
  readonly check: number;
  readonly columns: number;
}

function formatFinding(finding: DoctorFinding, paint: Paint, { host, check, columns }: Layout): string {
  const { state, text, hint } = finding;
  const mark = { ok: "ok", warning: "warn", error: "ERROR" }[state];
  const head = `${mark.padEnd(5)}  ${subject(finding).padEnd(host)}  ${finding.check.padEnd(check)}  `;
  const color = state === "ok" ? "green" : state === "warning" ? "yellow" : "red";
  const indent = " ".repeat(head.length);
  const body = wrapWords(text, columns - head.length).join(`\n${indent}`);
  // A command is not folded: it is there to be copied.
  return `${head.replace(mark, (word) => paint(color, word))}${body}\n${hint === null ? "" : `${indent}${paint("bold", hint)}\n`}`;
}

function subject({ host, peer }: DoctorFinding): string {
  if (host === null) return "all";
  return peer === null ? host : `${host} → ${peer}`;
}
