import type { Command } from "commander";
import { type CliContext, examples } from "../cli-context.ts";

export function addCniCommand(program: Command, context: CliContext): void {
  const command = program
    .command("cni")
    .summary("be a CNI plugin: reads CNI_… variables and a configuration on standard input")
    .description(
      "What a container runtime runs as apollo-cni: a link of that name to this binary does the same. Speaks CNI 0.3.1 to 1.1.0.",
    )
    .action(async () => context.setExitCode(await context.programs.runCni(context)));
  examples(command, [["Let podman, containerd and others find it", "ln -s /usr/bin/apollo /opt/cni/bin/apollo-cni"]]);
}
