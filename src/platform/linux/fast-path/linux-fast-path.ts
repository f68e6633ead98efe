import { z } from "zod";
import { AppError, unreachable } from "../../../model/error.ts";
import type { Ipv4 } from "../../../model/ip.ts";
import type { DnsCounts } from "../../../model/wire.ts";
import type {
  FastPath,
  FastPathAction,
  FastPathCounters,
  FastPathEntry,
  FastPathFilter,
  FastPathProgram,
  FastPathState,
} from "../../ports/fast-path.ts";
import type { Runner } from "../../ports/runner.ts";
import type { BpfHandle } from "./bpf-kernel.ts";
import { possibleProcessors } from "./bpf-kernel.ts";
import { DNS_SIZES, decodeDnsCounts } from "./encode-answers.ts";
import {
  COUNTER_BYTES,
  ENTRY_SIZES,
  decodeAddress,
  decodeCounters,
  decodeEntry,
  decodeNumber,
  encodeEntry,
} from "./encode-entries.ts";
import type { EntryMap } from "./encode-entries.ts";
import { parseFilteredDevices, parseFilters } from "./parse-tc-output.ts";
import type { IngressFilters } from "./parse-tc-output.ts";
import { LOOPBACK_DEVICE, LOOPBACK_PROGRAM, type LoopbackHook, openLoopback } from "./loopback-hook.ts";
import { LinuxKernelAnswers } from "./linux-kernel-answers.ts";
import { openPrograms, removePrograms } from "./program-store.ts";
import type { OpenPrograms } from "./program-store.ts";

/** Our place in the line of a device's filters, late: whoever else looks at the packets has done so before. */
const PREFERENCE = 49201;
const HANDLE = "1";
const ENTRY_MAPS: readonly EntryMap[] = ["endpoints", "routes", "settings", "sources"];
const PROGRAMS: readonly FastPathProgram[] = ["from_container", "from_uplink", "from_tunnel", "from_host"];
const links = z.array(z.object({ ifindex: z.number(), ifname: z.string(), link_type: z.string() }).partial());

export interface LinuxFastPathOptions {
  /** Works in the network namespace of the host. */
  readonly runner: Runner;
  /** Where programs and maps are pinned: a mount of its own, below a folder that a reboot empties. */
  readonly directory: string;
  /** The compiled object. @throws AppError `unavailable` when this build has none. */
  readonly object: () => Promise<Uint8Array>;
}

/** tc filters in the namespace that `runner` works in, programs and maps by bpf(2). */
export class LinuxFastPath implements FastPath {
  readonly #options: LinuxFastPathOptions;
  #open: OpenPrograms | null = null;
  /** Undefined before anyone looked. */
  #loopback: LoopbackHook | null | undefined;
  /** Of the same programs: does nothing while they are not open. */
  readonly answers = new LinuxKernelAnswers(() => this.#open);

  constructor(options: LinuxFastPathOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    if (this.#open !== null) return;
    const { directory, object, runner } = this.#options;
    const opened = await openPrograms(directory, await object(), runner);
    for (const map of ENTRY_MAPS) assertSizes(map, ENTRY_SIZES[map], opened);
    for (const [map, sizes] of Object.entries(DNS_SIZES)) assertSizes(map, sizes, opened);
    await this.#openLoopback();
    this.#open = opened;
    this.answers.opened();
  }

  async observe(): Promise<FastPathState> {
    const open = this.#opened();
    const [devices, filters] = await Promise.all([this.#devices(), this.#filters()]);
    const names = new Map(PROGRAMS.map((name) => [open.programIds.get(name), name]));
    const ours = [...filters].filter(([, { own }]) => own !== null);
    const current = ours.flatMap(([device, { own }]): FastPathFilter[] => {
      const program = names.get(own ?? undefined);
      return program === undefined ? [] : [{ device, program }];
    });
    if (this.#loopbackIsCurrent(open)) current.push({ device: LOOPBACK_DEVICE, program: LOOPBACK_PROGRAM });
    const known = new Set(current.map(({ device }) => device));
    return {
      entries: ENTRY_MAPS.flatMap((map) => this.#entries(map)),
      filters: current,
      stale: ours.flatMap(([device]) => (known.has(device) ? [] : [device])),
      devices,
    };
  }

  async apply(action: FastPathAction): Promise<void> {
    switch (action.kind) {
      case "put-entry": {
        const { key, value } = encodeEntry(action.entry);
        this.#opened().kernel.update(this.#map(action.entry.map), key, value);
        return;
      }
      case "delete-entry":
        return this.#deleteEntry(action.entry);
      case "attach":
        return this.#attach(action.filter);
      case "detach":
        return this.#detach(action.device);
      default:
        return unreachable(action, "fast path action");
    }
  }

  async counters(): ReturnType<FastPath["counters"]> {
    const sizes = { key: 4, value: COUNTER_BYTES * possibleProcessors() };
    const { kernel } = this.#opened();
    const read = <K>(map: string, decode: (key: Uint8Array) => K): ReadonlyMap<K, FastPathCounters> =>
      new Map(kernel.entries(this.#map(map), sizes).map(({ key, value }) => [decode(key), decodeCounters(value)]));
    return Promise.resolve({
      ports: read<number>("ports_seen", decodeNumber),
      peers: read<Ipv4>("peers_seen", decodeAddress),
      dns: this.#dnsCounts(),
    });
  }

  #dnsCounts(): DnsCounts {
    const { key, value } = DNS_SIZES.dns_seen;
    const sizes = { key, value: value * possibleProcessors() };
    const [only] = this.#opened().kernel.entries(this.#map("dns_seen"), sizes);
    return decodeDnsCounts(only?.value ?? new Uint8Array());
  }

  async remove(): Promise<void> {
    const { directory, runner } = this.#options;
    for (const [device, { own }] of await this.#filters()) if (own !== null) await this.#detach(device);
    (await this.#openLoopback())?.detach();
    this.#open?.close();
    this.#open = null;
    await removePrograms(directory, runner);
  }

  #opened(): OpenPrograms {
    if (this.#open === null) throw new Error("The fast path was not opened");
    return this.#open;
  }

  #map(name: string): BpfHandle {
    const handle = this.#opened().maps.get(name);
    if (handle === undefined) throw new Error(`There is no map ${name}`);
    return handle;
  }

  #entries(map: EntryMap): readonly FastPathEntry[] {
    const found = this.#opened().kernel.entries(this.#map(map), ENTRY_SIZES[map]);
    return found.map((entry) => decodeEntry(map, entry));
  }

  #deleteEntry(entry: FastPathEntry): void {
    const { kernel } = this.#opened();
    kernel.delete(this.#map(entry.map), encodeEntry(entry).key);
    // A port's counter goes with the port; its number is never given again.
    if (entry.map === "sources") kernel.delete(this.#map("ports_seen"), encodeEntry(entry).key.slice(0, 4));
  }

  async #devices(): Promise<FastPathState["devices"]> {
    const { stdout } = await this.#options.runner.run(["ip", "-j", "link", "show"]);
    return new Map(
      links
        .parse(JSON.parse(stdout))
        .flatMap(({ ifname, ifindex, link_type: type }) =>
          ifname === undefined ||
          ifindex === undefined ||
          (ifname === LOOPBACK_DEVICE && (this.#loopback ?? null) === null)
            ? []
            : [[ifname, { index: ifindex, ethernet: type === "ether" }]],
        ),
    );
  }

  async #openLoopback(): Promise<LoopbackHook | null> {
    if (this.#loopback === undefined) this.#loopback = await openLoopback(this.#options.runner);
    return this.#loopback;
  }

  #loopbackIsCurrent({ programIds }: OpenPrograms): boolean {
    const own = this.#loopback?.own() ?? [];
    return own.length === 1 && own[0] === programIds.get(LOOPBACK_PROGRAM);
  }

  #attachLoopback(): void {
    const { folder, programIds } = this.#opened();
    this.#loopback?.attach(`${folder}/${LOOPBACK_PROGRAM}`, programIds.get(LOOPBACK_PROGRAM) ?? 0);
  }

  /** By device, those that have a place for filters at all. */
  async #filters(): Promise<ReadonlyMap<string, IngressFilters>> {
    const { runner } = this.#options;
    const devices = parseFilteredDevices((await runner.run(["tc", "-j", "qdisc", "show"])).stdout);
    if (devices.length === 0) return new Map();
    const stdin = devices.map((device) => `filter show dev ${device} ingress\n`).join("");
    const { stdout } = await runner.run(["tc", "-j", "-force", "-batch", "-"], { stdin, okCodes: [0, 1] });
    const lines = stdout.split("\n").filter((line) => line.trim() !== "");
    if (lines.length !== devices.length) {
      // A device went away in between, and tc does not say whose line is missing.
      throw new AppError("unavailable", "Cannot list the fast path's filters: devices changed meanwhile");
    }
    return new Map(devices.map((device, index) => [device, parseFilters(lines[index] ?? "", PREFERENCE)]));
  }

  async #attach({ device, program }: FastPathFilter): Promise<void> {
    const { runner } = this.#options;
    if (device === LOOPBACK_DEVICE) return this.#attachLoopback();
    await runner.run(["tc", "-batch", "-"], {
      stdin: [
        `qdisc replace dev ${device} clsact`,
        `filter replace dev ${device} ingress pref ${PREFERENCE} handle ${HANDLE} protocol all bpf direct-action object-pinned ${this.#opened().folder}/${program}`,
        "",
      ].join("\n"),
    });
  }

  async #detach(device: string): Promise<void> {
    const { runner } = this.#options;
    if (device === LOOPBACK_DEVICE) return this.#loopback?.detach();
    const place = ["dev", device, "ingress"];
    const shown = await runner.run(["tc", "-j", "filter", "show", ...place], { okCodes: [0, 1, 2] });
    if (shown.code !== 0) return;
    const { own, others } = parseFilters(shown.stdout, PREFERENCE);
    if (own !== null)
      await runner.run(["tc", "filter", "del", ...place, "pref", String(PREFERENCE)], { okCodes: [0, 2] });
    const egress = await runner.run(["tc", "-j", "filter", "show", "dev", device, "egress"], { okCodes: [0, 1, 2] });
    const empty = others === 0 && egress.code === 0 && parseFilters(egress.stdout, PREFERENCE).others === 0;
    // The place for filters was ours unless somebody else uses it.
    if (empty) await runner.run(["tc", "qdisc", "del", "dev", device, "clsact"], { okCodes: [0, 1, 2] });
  }
}

interface MapSizes {
  readonly key: number;
  readonly value: number;
}

function assertSizes(map: string, { key, value }: MapSizes, { object }: OpenPrograms): void {
  const spec = object.maps.find(({ name }) => name === map);
  if (spec?.keyBytes !== key || spec.valueBytes !== value) {
    throw new AppError(
      "internal",
      `Cannot use the fast path: its map "${map}" has another form than this agent writes`,
      {
        hint: "npm run build",
      },
    );
  }
}
