import type { ClusterFault } from "./cluster-weather.ts";
import type { FakeTransport } from "./fake-transport.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { AgentRun, SimMachine } from "./sim-machine.ts";
import { SERVER_NODE } from "./stream-transport.ts";
import type { VirtualClock } from "./virtual-clock.ts";

export type MachineFault = Exclude<ClusterFault, "restartServer" | "pauseServer">;

export interface MachineTroubleOptions {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly network: FakeTransport;
  /** An agent ended in order. */
  readonly ended: (machine: SimMachine, run: AgentRun | null) => void;
  /** Another machine is there under the same name. */
  readonly replaced: (machine: SimMachine) => void;
  readonly cordon: (machine: SimMachine, cordoned: boolean) => void;
}

/** Longer than from one look of the watch to the next: what is not seen from outside cannot be judged from there. */
const SICK_MS_MIN = 1000;

/** What happens to a host, and ends again by itself after a time. */
export class MachineTrouble {
  readonly #options: MachineTroubleOptions;

  constructor(options: MachineTroubleOptions) {
    this.#options = options;
  }

  begin(machine: SimMachine, fault: MachineFault): void {
    const { random, clock, ended, replaced, cordon } = this.#options;
    const forMs = random.next() ** 2 * 20_000;
    const later = (run: () => void, ms = forMs): void => void clock.after(ms, run);
    switch (fault) {
      case "killAgent":
        machine.killAgent();
        return later(() => machine.startAgent(), random.pick([10, 1000, forMs]));
      case "restartAgent": {
        const stopping = machine.stopAgent().then((run) => ended(machine, run));
        stopping.then(() => later(() => machine.startAgent(), 100)).catch((error: unknown) => clock.fail(error));
        return;
      }
      case "powerCut":
        machine.powerOff();
        return later(() => machine.powerOn(random.next() * 4000), 1000 + forMs);
      case "restartEngine":
        machine.engineOff();
        return later(() => machine.engineOn(), 500 + forMs / 4);
      case "killContainer":
        return this.#onContainer(machine, (id) => machine.engine.crash(id, 1));
      case "sicken":
        return this.#onContainer(machine, (id) => {
          machine.prober.sick.add(id);
          // For longer than from one look to the next, so that it is seen from outside, too.
          later(() => machine.prober.sick.delete(id), SICK_MS_MIN + forMs);
        });
      case "cut":
        return this.#cut(machine, forMs);
      case "stall":
        return this.#cut(machine, random.next() * 2400);
      case "killProxy":
        machine.disturb();
        return machine.proxy.kill();
      case "pauseAgent":
        machine.agent?.process.pause(forMs / 2);
        machine.disturb();
        return later(() => machine.disturb(), forMs / 2);
      case "hangEngine":
        machine.engineHang();
        return later(() => machine.engineOn(), forMs / 2);
      case "reinstall":
        machine.reinstall();
        return replaced(machine);
      case "meddle":
        return machine.meddle();
      case "cordon":
        return cordon(machine, random.chance(0.6));
      case "fillDisk":
        machine.file.full = true;
        return later(() => {
          machine.file.full = false;
        });
    }
  }

  #cut(machine: SimMachine, forMs: number): void {
    const { name } = machine;
    const { random, network, clock } = this.#options;
    const ways = random.integer(1, 3);
    if ((ways & 1) !== 0) network.cut(name, SERVER_NODE);
    if ((ways & 2) !== 0) network.cut(SERVER_NODE, name);
    machine.disturb();
    clock.after(forMs, () => {
      network.mend(name, SERVER_NODE);
      machine.disturb();
    });
  }

  #onContainer(machine: SimMachine, act: (id: string) => void): void {
    const running = machine.containers().filter(({ state, name }) => state === "running" && name !== "by-hand");
    if (running.length > 0 && machine.engineUp) act(this.#options.random.pick(running).id);
  }
}
