import { spawn } from "node:child_process";
import { parseArgs } from "node:util";
import { AppError } from "../model/error.ts";
import { describeLab } from "./demo.ts";
import { downAllLabs, downLab, listLabTraces } from "./down-lab.ts";
import { parseLabName } from "./lab-plan.ts";
import { listLabs } from "./lab-status.ts";
import type { LabStatus } from "./lab-status.ts";
import { cutLink, healLink, startHost, stopHost } from "./lab-control.ts";
import { upLab } from "./lab.ts";
import { argvInNode, nodeEnv } from "./node-command.ts";
import { ownBinary } from "./own-binary.ts";

export const LAB_HELP = `Usage: apollo lab COMMAND

A cluster on this one machine: each host a set of namespaces with its own root, network, Docker engine, HAProxy and agent.
Needs root. Nothing of it is left after "down".

  up [NAME] [--hosts 3] [--engines-only]   start one and say how to reach it
  down [NAME | --all]                             remove it, also after a crash
  status [NAME] [--json]                          what there is
  exec HOST [--] COMMAND…                         run a program in a host
  stop HOST      power off, without warning       start HOST     power on
  cut A B [--one-way]    no packets between two   heal A B [--one-way]

With more than one lab, name it: --lab NAME, or APOLLO_LAB.

  apollo lab up --hosts 2
  apollo lab exec h1 -- docker ps
  apollo lab cut h1 h3
`;

const OPTIONS = {
  hosts: { type: "string" },
  name: { type: "string" },
  lab: { type: "string" },
  binary: { type: "string" },
  "engines-only": { type: "boolean" },
  "one-way": { type: "boolean" },
  all: { type: "boolean" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

const HOSTS = 3;

interface LabCall {
  readonly words: readonly string[];
  readonly options: {
    readonly hosts?: string;
    readonly name?: string;
    readonly lab?: string;
    readonly binary?: string;
    readonly "engines-only"?: boolean;
    readonly "one-way"?: boolean;
    readonly all?: boolean;
    readonly json?: boolean;
    readonly help?: boolean;
  };
  /** What `exec` runs. */
  readonly argv: readonly string[];
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
}

const COMMANDS: Readonly<Record<string, (call: LabCall) => Promise<number>>> = {
  up,
  down,
  status,
  exec,
  stop,
  start,
  cut,
  heal,
};

/**
 * `apollo lab …`: the rest of the command line. @returns the exit code; of `exec`, that of the program it ran.
 * @throws AppError for what cannot be done.
 */
export async function runLab(
  argv: readonly string[],
  signal: AbortSignal,
  print: (line: string) => void = console.log,
): Promise<number> {
  const call = { ...parseLabArgv(argv), print, signal };
  const [name] = call.words;
  if (name === undefined || call.options.help === true) {
    print(LAB_HELP);
    return name === undefined && call.options.help !== true ? 2 : 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    throw new AppError(
      "invalid",
      `Cannot run "apollo lab ${name}": the commands are ${Object.keys(COMMANDS).join(", ")}`,
      {
        hint: "apollo lab --help",
      },
    );
  }
  return command(call);
}

/** Splits words and options; what follows `exec HOST` is a command line of its own. @throws AppError `invalid`. */
export function parseLabArgv(argv: readonly string[]): Pick<LabCall, "words" | "options" | "argv"> {
  const at = execStart(argv);
  try {
    const { values, positionals } = parseArgs({ args: argv.slice(0, at), options: OPTIONS, allowPositionals: true });
    const rest = argv.slice(at);
    return { words: positionals, options: values, argv: rest[0] === "--" ? rest.slice(1) : rest };
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new AppError("invalid", `Cannot read the command line: ${text}`, { cause, hint: "apollo lab --help" });
  }
}

/** Index behind `exec HOST`, or the end. `--lab NAME` may come before or between. */
function execStart(argv: readonly string[]): number {
  let words = 0;
  let isExec = false;
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? "";
    if (word === "--") return index;
    if (word === "--lab") index += 1;
    if (word.startsWith("-")) continue;
    words += 1;
    if (words === 1) isExec = word === "exec";
    if (words === 2 && isExec) return index + 1;
  }
  return argv.length;
}

async function up({ words, options, print, signal }: LabCall): Promise<number> {
  const name = options.name ?? words[1];
  const hosts = options.hosts === undefined ? HOSTS : Number(options.hosts);
  const enginesOnly = options["engines-only"] === true;
  const binary = enginesOnly ? options.binary : (options.binary ?? ownBinary());
  const lab = await upLab({
    hosts,
    parts: enginesOnly ? "engines" : "all",
    signal,
    onProgress: (text) => print(`… ${text}`),
    ...(name === undefined ? {} : { name }),
    ...(binary === undefined ? {} : { binary }),
  });
  print(`Lab ${lab.name} is up.`);
  if (binary === undefined || enginesOnly) print(`  apollo lab exec ${lab.hosts[0]} -- docker ps`);
  else describeLab(lab, binary, print);
  print(`Remove it:\n  apollo lab down ${lab.name}`);
  return 0;
}

async function down(call: LabCall): Promise<number> {
  if (call.options.all === true) {
    const labs = await downAllLabs();
    call.print(labs.length === 0 ? "There is no lab." : `Removed ${labs.join(", ")}.`);
    return 0;
  }
  const name = call.words[1] ?? (await chooseLab(call));
  await downLab(name);
  call.print(`Removed ${name}.`);
  return 0;
}

async function status({ words, options, print }: LabCall): Promise<number> {
  const all = await listLabs();
  const labs = words[1] === undefined ? all : all.filter((lab) => lab.name === words[1]);
  if (words[1] !== undefined && labs.length === 0) throw new AppError("not-found", `Cannot find lab "${words[1]}"`);
  print(
    options.json === true ? JSON.stringify(labs, null, 2) : labs.map(formatStatus).join("\n") || "There is no lab.",
  );
  return 0;
}

function formatStatus(lab: LabStatus): string {
  return [
    `${lab.name}  ${lab.phase}  ${lab.dir}`,
    ...lab.nodes.map(
      ({ name, role, address, segment, on }) =>
        `  ${name.padEnd(4)} ${role.padEnd(6)} ${address.padEnd(12)} segment ${segment}  ${on ? "on" : "off"}`,
    ),
    ...lab.forwards.map(({ node, targetPort, localPort }) => `  127.0.0.1:${localPort} → ${node}:${targetPort}`),
    ...lab.cuts.map((cut) => `  cut: ${cut}`),
    ...(lab.adminConfig === null ? [] : [`  export APOLLO_CONFIG=${lab.adminConfig}`]),
  ].join("\n");
}

async function exec(call: LabCall): Promise<number> {
  const host = requireWord(call, 1, "HOST");
  if (call.argv.length === 0)
    throw new AppError("invalid", "Cannot run nothing: give a command", { hint: `apollo lab exec ${host} -- bash` });
  const lab = await chooseLab(call);
  const [program = "", ...rest] = argvInNode(lab, host, call.argv);
  return new Promise((resolve, reject) => {
    // The terminal is handed through as it is; Ctrl-C reaches the program, not only us.
    const child = spawn(program, rest, { stdio: "inherit", env: nodeEnv(lab, host) });
    child.on("error", reject);
    child.on("exit", (code) => resolve(code ?? 128));
  });
}

async function stop(call: LabCall): Promise<number> {
  const host = requireWord(call, 1, "HOST");
  await stopHost(await chooseLab(call), host);
  call.print(`${host} is off.`);
  return 0;
}

async function start(call: LabCall): Promise<number> {
  const host = requireWord(call, 1, "HOST");
  await startHost(await chooseLab(call), host, (text) => call.print(`… ${text}`));
  call.print(`${host} is on.`);
  return 0;
}

function cut(call: LabCall): Promise<number> {
  return changeLink(call, cutLink, "is cut");
}

function heal(call: LabCall): Promise<number> {
  return changeLink(call, healLink, "is whole");
}

async function changeLink(call: LabCall, change: typeof cutLink, done: string): Promise<number> {
  const [from, to] = [requireWord(call, 1, "A"), requireWord(call, 2, "B")];
  const oneWay = call.options["one-way"] === true;
  await change(await chooseLab(call), { from, to, oneWay });
  call.print(`${from} ${oneWay ? "→" : "↔"} ${to} ${done}.`);
  return 0;
}

function requireWord(call: LabCall, index: number, what: string): string {
  const word = call.words[index];
  if (word === undefined) {
    throw new AppError("invalid", `Cannot run "apollo lab ${call.words[0]}": ${what} is missing`, {
      hint: "apollo lab --help",
    });
  }
  return word;
}

/** The lab that was named, or the only one. @throws AppError `not-found` | `invalid` when there are several. */
async function chooseLab({ options }: LabCall): Promise<string> {
  const named = options.lab ?? process.env["APOLLO_LAB"];
  // A script whose variable is empty means some lab, and not whichever there is.
  if (named !== undefined) return parseLabName(named);
  const labs = await listLabTraces();
  const [only] = labs;
  if (only === undefined)
    throw new AppError("not-found", "Cannot choose a lab: there is none", { hint: "apollo lab up" });
  if (labs.length > 1) {
    throw new AppError("invalid", `Cannot choose a lab: there are ${labs.join(", ")}`, { hint: `add --lab ${only}` });
  }
  return only;
}
