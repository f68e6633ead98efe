import { Argument, type Command } from "commander";
import type { AppJson, DeploymentJson, HostJson, InstanceJson, ServiceJson } from "../../api/native/shapes.ts";
import type { PolicyRule } from "../../model/network-config.ts";
import { type CliContext, examples } from "../cli-context.ts";
import { ApolloClient } from "../client.ts";
import { complete, formatCompletion, type NameKind } from "../complete.ts";
import { COMPLETION_SCRIPTS, type Shell, SHELLS } from "../completion-scripts.ts";
import { resolveConnection } from "../connection.ts";
import { shownApp, shownInstance } from "../find-named.ts";

/** A prompt that waits longer feels stuck. */
const NAMES_TIMEOUT_MS = 1500;

export function addCompletionCommands(program: Command, context: CliContext): void {
  const command = program
    .command("completion")
    .addArgument(new Argument("<shell>").choices(SHELLS))
    .description("print a script that completes commands, options and names of apps")
    .action((shell: Shell) => context.stdout.write(COMPLETION_SCRIPTS[shell]));
  examples(command, [
    ["For this shell", "source <(apollo completion bash)"],
    ["For all bash shells of this machine", "apollo completion bash > /etc/bash_completion.d/apollo"],
  ]);
  program
    .command("__complete", { hidden: true })
    .argument("[words...]")
    .helpOption(false)
    .action(async (words: readonly string[]) => {
      context.stdout.write(formatCompletion(await complete(program, words, (kind) => listNames(context, kind))));
    });
}

/** More of them help nobody. */
const KEYS_MAX = 1000;

/** Names that the server knows; none when it cannot be asked: a prompt is no place for errors. */
async function listNames(context: CliContext, kind: NameKind): Promise<readonly string[]> {
  try {
    const client = new ApolloClient(resolveConnection({}, context.env, context.files), context.signal);
    const get = async <T>(path: string): Promise<readonly T[]> =>
      await client.get(path, { timeoutMs: NAMES_TIMEOUT_MS });
    switch (kind) {
      case "app":
        return (await get<AppJson>("/api/apps")).map((app) => shownApp(app.id));
      case "instance":
        return (await get<InstanceJson>("/api/instances")).map((instance) => shownInstance(instance.id));
      case "host":
        return (await get<HostJson>("/api/hosts")).map((host) => host.name);
      case "service":
        return (await get<ServiceJson>("/api/services")).map((service) => service.name);
      case "key":
        return (await get<string>("/v1/kv/?keys=&separator=/")).slice(0, KEYS_MAX);
      case "name":
        return (await get<ServiceJson>("/api/services")).map(({ name }) => `${name}.service.consul`);
      case "policy":
        return (await get<PolicyRule>("/api/policies")).map((rule) => rule.name);
      case "network":
        return (await get<{ readonly name: string }>("/api/networks")).map(({ name }) => name);
      case "publication":
      case "import":
      case "virtual":
        return (await get<{ readonly name: string }>(`/api/${kind}s`)).map(({ name }) => name);
      default:
        return (await get<DeploymentJson>("/api/deployments")).map((deployment) => deployment.id);
    }
  } catch {
    return [];
  }
}
