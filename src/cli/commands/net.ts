import type { Command } from "commander";
import type { CliContext } from "../cli-context.ts";
import { addAttachCommands } from "./net-attach.ts";

export function addNetCommands(program: Command, context: CliContext): void {
  const net = program.command("net").description("see and change the container network");
  addAttachCommands(net, context);
}
