import type { Command } from "commander";
import type { CliContext } from "../cli-context.ts";
import { addAttachCommands } from "./net-attach.ts";
import { addNetDoctor } from "./net-doctor.ts";
import { addNetLinks } from "./net-links.ts";
import { addRotateKeys } from "./net-rotate-keys.ts";
import { addNetProbe } from "./net-probe.ts";
import { addNetTrace } from "./net-trace.ts";
import { addNetWhy } from "./net-why.ts";

/** `apollo net …`: the container network and the links between hosts. */
export function addNetCommands(program: Command, context: CliContext): void {
  const net = program.command("net").description("see and change the container network");
  addNetLinks(net, context);
  addNetWhy(net, context);
  addNetTrace(net, context);
  addNetDoctor(net, context);
  addAttachCommands(net, context);
  addRotateKeys(net, context);
  addNetProbe(net, context);
}
