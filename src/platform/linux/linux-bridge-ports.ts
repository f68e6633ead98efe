import { readFile } from "node:fs/promises";
import type { BridgePort, BridgePorts, FarPort } from "../ports/bridge-ports.ts";
import type { Clock } from "../ports/clock.ts";
import type { LineRunner } from "../ports/runner.ts";
import { parseBatchOutput, parseBridgePorts, parseFarPorts, parseInterfaceIndexes } from "./parse-ip-output.ts";

/** As in `LinuxHostNetwork.watch`: a monitor that ended is started again, and not in a tight loop. */
const MONITOR_RESTART_MS = 1000;

/** The bridge ports of the network namespace that `runner` works in. */
export class LinuxBridgePorts implements BridgePorts {
  readonly #runner: LineRunner;
  readonly #clock: Clock;

  constructor(options: { readonly runner: LineRunner; readonly clock: Clock }) {
    this.#runner = options.runner;
    this.#clock = options.clock;
  }

  async list(bridge: string): Promise<readonly BridgePort[] | null> {
    // Exit code 1: the bridge is not there (yet), which is an answer.
    const argv = ["ip", "-j", "-d", "link", "show", "master", bridge];
    const { code, stdout } = await this.#runner.run(argv, { okCodes: [0, 1] });
    return code === 0 ? parseBridgePorts(parseBatchOutput(stdout).flat()) : null;
  }

  async loose(): Promise<readonly BridgePort[]> {
    const { stdout } = await this.#runner.run(["ip", "-j", "-d", "link", "show", "type", "veth"]);
    return parseBridgePorts(parseBatchOutput(stdout).flat().filter(isLoose));
  }

  async farPorts(pid: number): Promise<readonly FarPort[] | null> {
    const argv = ["nsenter", "--target", String(pid), "--net", "--", "ip", "-j", "-d", "link", "show", "type", "veth"];
    const { code, stdout } = await this.#runner.run(argv, { okCodes: [0, 1] });
    return code === 0 ? parseFarPorts(parseBatchOutput(stdout).flat()) : null;
  }

  async plug(device: string, bridge: string): Promise<void> {
    await this.#runner.run(["ip", "link", "set", "dev", device, "master", bridge]);
  }

  async indexesOf(pid: number): Promise<readonly number[] | null> {
    try {
      return parseInterfaceIndexes(await readFile(`/proc/${pid}/net/igmp`, "utf8"));
    } catch {
      return null;
    }
  }

  async watch(bridge: string, onChange: () => void, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const onLine = (line: string): void => {
        if (line.includes(bridge)) onChange();
      };
      await this.#runner.follow(["ip", "-o", "monitor", "link"], onLine, signal);
      if (signal.aborted) return;
      onChange();
      await this.#clock.sleep(MONITOR_RESTART_MS, signal);
    }
  }
}

function isLoose(entry: unknown): boolean {
  return typeof entry === "object" && entry !== null && !("master" in entry);
}
