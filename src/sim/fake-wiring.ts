import { AppError } from "../model/error.ts";
import { isIpv4 } from "../model/ip.ts";
import type { HostAddress } from "../model/ip6.ts";
import { isIpv6 } from "../model/ip6.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Wire, WireSpec, Wiring, WiringState } from "../platform/ports/wiring.ts";

const LATENCY_MS = 5;

interface Held extends Wire {
  readonly spec: WireSpec | null;
  readonly path: string | null;
}

/** A kernel's veth pairs in memory, as strict as the real one. */
export class FakeWiring implements Wiring {
  readonly #clock: Clock;
  readonly #wires = new Map<string, Held>();
  readonly #namespaces = new Map<string, string>();
  readonly #processes = new Map<number, string>();
  readonly #exposed = new Set<HostAddress>();
  readonly bridges = new Set(["apollo0"]);
  #next = 1;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A namespace comes into being at `path`; one that was there goes, with its wires. */
  startNamespace(path: string): void {
    this.endNamespace(path);
    this.#namespaces.set(path, `4-${(this.#next += 1)}`);
  }

  endNamespace(path: string): void {
    this.#namespaces.delete(path);
    for (const [device, { path: far }] of this.#wires) if (far === path) this.#wires.delete(device);
  }

  startProcess(pid: number, start: string): void {
    this.#processes.set(pid, start);
    this.startNamespace(`/proc/${pid}/ns/net`);
  }

  endProcess(pid: number): void {
    this.#processes.delete(pid);
    this.endNamespace(`/proc/${pid}/ns/net`);
  }

  /** One line a wire and an exposed address, sorted: for assertions. */
  toString(): string {
    const wires = [...this.#wires.values()].map(({ spec, path, bridge }) =>
      [
        `${[spec?.end.address ?? "loose", ...(spec?.end.six ? [spec.end.six.address] : [])].join(" ")} on ${bridge ?? "nothing"}`,
        `to ${path ?? "the host"}`,
      ].join(" "),
    );
    return [...wires, ...[...this.#exposed].map((address) => `exposed ${address}`)].toSorted().join("\n");
  }

  async observe(): Promise<WiringState> {
    await this.#pause();
    return {
      wires: [...this.#wires.values()].map(({ device, index, bridge, namespace, up }) => ({
        device,
        index,
        bridge: bridge !== null && this.bridges.has(bridge) ? bridge : null,
        namespace,
        up,
      })),
      exposed: [...this.#exposed].filter(isIpv4),
      local6: [...this.#exposed].filter(isIpv6),
      bridges: [...this.bridges],
    };
  }

  async namespaceAt(path: string): Promise<string | null> {
    await this.#pause();
    return this.#namespaces.get(path) ?? null;
  }

  async processStart(pid: number): Promise<string | null> {
    await this.#pause();
    return this.#processes.get(pid) ?? null;
  }

  async connect(spec: WireSpec): Promise<void> {
    await this.#pause();
    const namespace = this.#namespaces.get(spec.namespacePath);
    if (namespace === undefined)
      throw new AppError("not-found", `Cannot attach ${spec.namespacePath}: nothing is there`);
    const inside = [...this.#wires.values()].filter(({ path }) => path === spec.namespacePath);
    if (this.#wires.has(spec.device) || inside.some((wire) => wire.spec?.end.name === spec.end.name)) {
      throw new AppError("conflict", `Cannot attach ${spec.namespacePath}: File exists`);
    }
    this.#put(spec.device, { bridge: spec.bridge, namespace, spec, path: spec.namespacePath });
  }

  async connectLoose(wire: Parameters<Wiring["connectLoose"]>[0]): Promise<void> {
    await this.#pause();
    if (this.#wires.has(wire.device)) throw new AppError("conflict", `Cannot make ${wire.device}: File exists`);
    this.#put(wire.device, { bridge: wire.bridge, namespace: null, spec: null, path: null });
  }

  async mend({ device, bridge }: { readonly device: string; readonly bridge: string }): Promise<void> {
    await this.#pause();
    const wire = this.#wires.get(device);
    if (wire === undefined) throw new AppError("unavailable", `Cannot find device "${device}"`);
    this.#wires.set(device, { ...wire, bridge, up: true });
  }

  async disconnect(device: string): Promise<void> {
    await this.#pause();
    this.#wires.delete(device);
  }

  async expose(address: HostAddress): Promise<void> {
    await this.#pause();
    this.#exposed.add(address);
  }

  async hide(address: HostAddress): Promise<void> {
    await this.#pause();
    this.#exposed.delete(address);
  }

  async inspect(namespacePath: string): ReturnType<Wiring["inspect"]> {
    await this.#pause();
    if (!this.#namespaces.has(namespacePath)) throw new AppError("unavailable", `Cannot open ${namespacePath}`);
    return [...this.#wires.values()].flatMap(({ spec, path }) =>
      spec === null || path !== namespacePath ? [] : [{ name: spec.end.name, addresses: addressesOf(spec) }],
    );
  }

  #put(device: string, wire: Pick<Held, "bridge" | "namespace" | "spec" | "path">): void {
    if (wire.bridge !== null && !this.bridges.has(wire.bridge)) {
      throw new AppError("unavailable", `Cannot find device "${wire.bridge}"`);
    }
    this.#wires.set(device, { device, index: (this.#next += 1), up: true, ...wire });
  }

  #pause(): Promise<void> {
    return this.#clock.sleep(LATENCY_MS);
  }
}

function addressesOf({ end }: WireSpec): readonly string[] {
  const { address, prefix, six = null } = end;
  return [`${address}/${prefix}`, ...(six === null ? [] : [`${six.address}/${six.prefix}`])];
}
