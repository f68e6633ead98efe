import type { Command } from "commander";
import type { CliContext } from "../cli-context.ts";
import { addNetLinks } from "./net-links.ts";

/** `apollo net …`: the network between hosts. */
export function addNetCommands(program: Command, context: CliContext): void {
  const net = program.command("net").description("see the network between hosts");
  addNetLinks(net, context);
}
