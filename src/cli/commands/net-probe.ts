import type { Command } from "commander";
import { AppError } from "../../model/error.ts";
import { isIpv4 } from "../../model/ip.ts";
import { isIpv6 } from "../../model/ip6.ts";
import { connectProbe } from "../../platform/probe/connect-probe.ts";
import { type CliContext, examples } from "../cli-context.ts";
import { readCount } from "../read-count.ts";

const TIMEOUT_MS_MAX = 60_000;

/**
 * Tries one connection and prints how it went as JSON. Agents start this in the network namespaces of containers, in which
 * there need not be any program; people have `net trace`.
 */
export function addNetProbe(net: Command, context: CliContext): void {
  const command = net
    .command("probe", { hidden: true })
    .description(
      "try one connection from here, and print how it went as JSON; agents run this in containers' namespaces",
    )
    .argument("<address>")
    .argument("<port>")
    .argument("<protocol>", "tcp or udp")
    .argument("<milliseconds>")
    .action((address: string, port: string, protocol: string, milliseconds: string) => {
      if ((!isIpv4(address) && !isIpv6(address)) || (protocol !== "tcp" && protocol !== "udp")) {
        throw new AppError(
          "invalid",
          `Cannot probe "${address}" over "${protocol}": give an address, a port, tcp or udp`,
        );
      }
      const timeoutMs = Math.min(readCount(milliseconds, "milliseconds"), TIMEOUT_MS_MAX);
      const result = connectProbe({ address, port: readCount(port, "port"), protocol, timeoutMs });
      context.stdout.write(`${JSON.stringify(result)}\n`);
    });
  examples(command, [
    ["From a container's network", "nsenter --net=/proc/4711/ns/net apollo net probe 10.2.1.5 80 tcp 2000"],
  ]);
}
