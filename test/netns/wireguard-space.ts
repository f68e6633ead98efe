import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProcessRunner } from "../../src/platform/linux/process-runner.ts";
import type { Namespace } from "./network-lab.ts";
import { waitFor } from "./network-lab.ts";

/** Puts a directory of the host's own where WireGuard's sockets lie, then becomes the program that follows. */
const OWN_SOCKETS = 'mkdir -p /run/wireguard && mount --bind "$0" /run/wireguard && exec "$@"';

/** A host namespace with WireGuard sockets of its own: they lie in files, which network namespaces share. */
export class WireguardSpace implements Namespace {
  readonly name: string;
  readonly runner: ProcessRunner;
  readonly #plain: ProcessRunner;
  readonly #sockets = mkdtempSync(join(tmpdir(), "apollo-wg-"));

  constructor({ name, runner }: Namespace) {
    this.name = name;
    this.#plain = runner;
    this.runner = new ProcessRunner({ prefix: ["ip", "netns", "exec", name, "sh", "-c", OWN_SOCKETS, this.#sockets] });
  }

  /** Process ids of the program in this namespace. */
  async programs(): Promise<readonly number[]> {
    const root = new ProcessRunner();
    const { stdout } = await root.run(["ip", "netns", "pids", this.name], { okCodes: [0, 1] });
    const pids = stdout.split("\n").filter((line) => line !== "");
    if (pids.length === 0) return [];
    const { stdout: table } = await root.run(["ps", "-o", "pid=,stat=,comm=", "-p", pids.join(",")], {
      okCodes: [0, 1],
    });
    return table.split("\n").flatMap((line) => {
      const [pid = "", state = "", program = ""] = line.trim().split(/\s+/);
      return program === "wireguard-go" && !state.startsWith("Z") ? [Number(pid)] : [];
    });
  }

  /** Ends the program, whatever state it is in: it would keep the namespace alive. */
  async close(): Promise<void> {
    await this.#plain.run(["ip", "link", "delete", "apollo-wg0"], { okCodes: [0, 1] });
    rmSync(this.#sockets, { recursive: true, force: true });
    await waitFor(`the end of wireguard-go in ${this.name}`, async () => (await this.programs()).length === 0);
  }
}
