/**
 * The program at loopback, through which all goes that the host says to itself. It hangs there by the kernel's own list of programs
 * (tcx, Linux 6.6) and not as a filter of tc: those cost a program on loopback 2 % of its round trips, whether it asks for names or not, and
 * this nothing that can be measured. `tc` does not show it, `bpftool net` does.
 */
import { readlinkSync } from "node:fs";
import { AppError } from "../../../model/error.ts";
import type { Runner } from "../../ports/runner.ts";
import { BpfKernel } from "./bpf-kernel.ts";

export const LOOPBACK_DEVICE = "lo";
export const LOOPBACK_PROGRAM = "from_host";
/** LOOPBACK_IFINDEX of the kernel, in every namespace. */
const LOOPBACK_INDEX = 1;
const NAMESPACE = "/proc/self/ns/net";

/** Null where there can be no such program: an older kernel, or a namespace other than that of this process, which is the one that bpf(2) works in. */
export async function openLoopback(runner: Runner): Promise<LoopbackHook | null> {
  const { stdout } = await runner.run(["readlink", NAMESPACE]);
  if (stdout.trim() !== readlinkSync(NAMESPACE)) return null;
  try {
    const hook = new LoopbackHook(new BpfKernel());
    hook.own();
    return hook;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return null;
  }
}

export class LoopbackHook {
  readonly #kernel: BpfKernel;

  constructor(kernel: BpfKernel) {
    this.#kernel = kernel;
  }

  /** Numbers of our programs that hang there, of whatever release. */
  own(): readonly number[] {
    return this.#kernel.ingressPrograms(LOOPBACK_INDEX).filter((id) => {
      // Null: gone in the meantime.
      const handle = this.#kernel.openProgram(id);
      if (handle === null) return false;
      const name = this.#kernel.programName(handle);
      this.#kernel.close(handle);
      return name === LOOPBACK_PROGRAM;
    });
  }

  /** In place of all others of ours. `path` is where program `id` is pinned. */
  attach(path: string, id: number): void {
    const own = this.own();
    if (!own.includes(id)) {
      const handle = this.#kernel.open(path);
      if (handle === null) throw new AppError("unavailable", `Cannot open "${path}": it is gone`);
      this.#kernel.attachIngress(LOOPBACK_INDEX, handle);
      this.#kernel.close(handle);
    }
    this.#detach(own.filter((each) => each !== id));
  }

  detach(): void {
    this.#detach(this.own());
  }

  #detach(ids: readonly number[]): void {
    for (const id of ids) {
      const handle = this.#kernel.openProgram(id);
      if (handle === null) continue;
      this.#kernel.detachIngress(LOOPBACK_INDEX, handle);
      this.#kernel.close(handle);
    }
  }
}
