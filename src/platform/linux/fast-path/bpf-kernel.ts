/** The few commands of bpf(2) that the fast path needs. Each takes microseconds, loading a program some milliseconds. */
import { dlopen, ptr, read } from "bun:ffi";
import { readFileSync } from "node:fs";
import { AppError } from "../../../model/error.ts";
import type { BpfMapSpec } from "./parse-bpf-object.ts";

const CALL_NUMBERS: Readonly<Record<string, number>> = { x64: 321, arm64: 280 };
const COMMAND = {
  createMap: 0,
  lookup: 1,
  update: 2,
  delete: 3,
  nextKey: 4,
  load: 5,
  pin: 6,
  open: 7,
  attach: 8,
  detach: 9,
  programById: 13,
  info: 15,
  query: 16,
} as const;
const PROGRAM_CLASSIFIER = 3;
/** BPF_TCX_INGRESS. */
const AT_INGRESS = 46;
/** The kernel's own limit for one device. */
const ATTACHED_MAX = 64;
const INFO_NAME_AT = 64;
const CLOCK_MONOTONIC = 1;
const ATTRIBUTE_BYTES = 128;
const LOG_BYTES = 256 * 1024;
const NO_ENTRY = 2;
const NAME_BYTES_MAX = 15;
const ERRORS: Readonly<Record<number, string>> = {
  1: "operation not permitted",
  2: "not there",
  7: "too large, the map is full",
  12: "out of memory",
  13: "refused by the verifier",
  17: "there already",
  22: "this kernel does not know it",
  38: "this kernel has no BPF",
};

/** A file descriptor of a map or program; the caller closes it. */
export type BpfHandle = number;

export class BpfKernel {
  readonly #library = dlopen("libc.so.6", {
    syscall: { args: ["i64", "i64", "ptr", "i64"], returns: "i64" },
    __errno_location: { args: [], returns: "ptr" },
    close: { args: ["i32"], returns: "i32" },
    clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
  });
  readonly #call: number;

  /** @throws AppError `unavailable` on a machine whose call number nobody has told us. */
  constructor() {
    const call = CALL_NUMBERS[process.arch];
    if (call === undefined) throw new AppError("unavailable", `Cannot use BPF: nobody has tried it on ${process.arch}`);
    this.#call = call;
  }

  createMap(spec: BpfMapSpec): BpfHandle {
    const attribute = new Attribute();
    const { type, keyBytes, valueBytes, entries, flags } = spec;
    for (const [index, value] of [type, keyBytes, valueBytes, entries, flags].entries())
      attribute.u32(index * 4, value);
    attribute.text(28, spec.name);
    return this.#must(COMMAND.createMap, attribute, `make map "${spec.name}"`);
  }

  /** @throws AppError `unavailable` with the end of what the verifier had to say. */
  loadProgram(name: string, code: Uint8Array, license: string): BpfHandle {
    const attribute = new Attribute();
    const log = new Uint8Array(LOG_BYTES);
    attribute.u32(0, PROGRAM_CLASSIFIER);
    attribute.u32(4, code.length / 8);
    attribute.pointer(8, code);
    attribute.pointer(16, new TextEncoder().encode(`${license}\0`));
    attribute.text(48, name);
    const handle = this.#run(COMMAND.load, attribute);
    if (handle >= 0) return handle;
    // Asked for only now: collecting it costs more than the check itself.
    attribute.u32(24, 1);
    attribute.u32(28, log.length);
    attribute.pointer(32, log);
    const again = this.#run(COMMAND.load, attribute);
    if (again >= 0) return again;
    const said = new TextDecoder().decode(log.subarray(0, Math.max(0, log.indexOf(0)))).trim();
    throw failure(`load program "${name}"`, -again, { verifier: said.slice(-2000) });
  }

  pin(handle: BpfHandle, path: string): void {
    const attribute = new Attribute();
    attribute.pointer(0, new TextEncoder().encode(`${path}\0`));
    attribute.u32(8, handle);
    this.#must(COMMAND.pin, attribute, `keep "${path}"`);
  }

  /** What is pinned at `path`; null when nothing is. */
  open(path: string): BpfHandle | null {
    const attribute = new Attribute();
    attribute.pointer(0, new TextEncoder().encode(`${path}\0`));
    const handle = this.#run(COMMAND.open, attribute);
    if (handle >= 0) return handle;
    if (-handle === NO_ENTRY) return null;
    throw failure(`open "${path}"`, -handle);
  }

  /** Number of a program, as `tc` shows it. */
  programId(handle: BpfHandle): number {
    return new DataView(this.#info(handle).buffer).getUint32(4, true);
  }

  programName(handle: BpfHandle): string {
    const name = this.#info(handle).subarray(INFO_NAME_AT, INFO_NAME_AT + NAME_BYTES_MAX + 1);
    return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
  }

  /** Null when there is none of that number (any more). */
  openProgram(id: number): BpfHandle | null {
    const attribute = new Attribute();
    attribute.u32(0, id);
    const handle = this.#run(COMMAND.programById, attribute);
    if (handle >= 0) return handle;
    if (-handle === NO_ENTRY) return null;
    throw failure(`open program ${id}`, -handle);
  }

  /** Numbers of the programs in a device's own list, without tc's filters. @throws AppError `unavailable` before Linux 6.6. */
  ingressPrograms(ifindex: number): readonly number[] {
    const attribute = new Attribute();
    const ids = new Uint8Array(4 * ATTACHED_MAX);
    attribute.u32(0, ifindex);
    attribute.u32(4, AT_INGRESS);
    attribute.pointer(16, ids);
    attribute.u32(24, ATTACHED_MAX);
    this.#must(COMMAND.query, attribute, "list a device's programs");
    const count = new DataView(attribute.bytes.buffer).getUint32(24, true);
    const view = new DataView(ids.buffer);
    return Array.from({ length: Math.min(count, ATTACHED_MAX) }, (_, index) => view.getUint32(index * 4, true));
  }

  attachIngress(ifindex: number, program: BpfHandle): void {
    this.#must(COMMAND.attach, attachCall(ifindex, program), "put a program at a device");
  }

  /** Not there is fine. */
  detachIngress(ifindex: number, program: BpfHandle): void {
    const result = this.#run(COMMAND.detach, attachCall(ifindex, program));
    if (result < 0 && -result !== NO_ENTRY) throw failure("take a program from a device", -result);
  }

  #info(handle: BpfHandle): Uint8Array {
    const attribute = new Attribute();
    const info = new Uint8Array(256);
    attribute.u32(0, handle);
    attribute.u32(4, info.length);
    attribute.pointer(8, info);
    this.#must(COMMAND.info, attribute, "ask what a program is");
    return info;
  }

  update(handle: BpfHandle, key: Uint8Array, value: Uint8Array): void {
    this.#must(COMMAND.update, mapCall(handle, key, value), "write into a map");
  }

  /** False when there was none. */
  delete(handle: BpfHandle, key: Uint8Array): boolean {
    const result = this.#run(COMMAND.delete, mapCall(handle, key, null));
    if (result < 0 && -result !== NO_ENTRY) throw failure("delete from a map", -result);
    return result >= 0;
  }

  /** All that is in the map now; entries that come or go meanwhile may be missing. */
  entries(
    handle: BpfHandle,
    sizes: { readonly key: number; readonly value: number },
  ): { key: Uint8Array; value: Uint8Array }[] {
    const keys: Uint8Array[] = [];
    for (let key: Uint8Array | null = null; ;) {
      const next: Uint8Array = new Uint8Array(sizes.key);
      const result = this.#run(COMMAND.nextKey, mapCall(handle, key, next));
      if (-result === NO_ENTRY) break;
      if (result < 0) throw failure("read a map", -result);
      keys.push(next);
      key = next;
    }
    return keys.flatMap((key) => {
      const value = new Uint8Array(sizes.value);
      return this.#run(COMMAND.lookup, mapCall(handle, key, value)) < 0 ? [] : [{ key, value }];
    });
  }

  close(handle: BpfHandle): void {
    this.#library.symbols.close(handle);
  }

  /** The clock of `bpf_ktime_get_ns`, which is no other's here. */
  nowNs(): bigint {
    const time = new BigInt64Array(2);
    this.#library.symbols.clock_gettime(CLOCK_MONOTONIC, ptr(time));
    return (time[0] ?? 0n) * 1_000_000_000n + (time[1] ?? 0n);
  }

  #must(command: number, attribute: Attribute, what: string): number {
    const result = this.#run(command, attribute);
    if (result < 0) throw failure(what, -result);
    return result;
  }

  /** The result, or the error number below zero. */
  #run(command: number, attribute: Attribute): number {
    const { syscall, __errno_location: errnoAt } = this.#library.symbols;
    // Asked before, so that nothing runs between the call and the look at its error.
    const at = errnoAt();
    const result = Number(syscall(this.#call, command, ptr(attribute.bytes), ATTRIBUTE_BYTES));
    const outcome = result < 0 && at !== null ? -read.i32(at, 0) : result;
    attribute.end();
    return outcome;
  }
}

/** `union bpf_attr`; keeps what it points to alive until its `end`. */
class Attribute {
  readonly bytes = new Uint8Array(ATTRIBUTE_BYTES);
  readonly #view = new DataView(this.bytes.buffer);
  readonly #kept: Uint8Array[] = [];

  u32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  pointer(at: number, target: Uint8Array): void {
    this.#kept.push(target);
    this.#view.setBigUint64(at, BigInt(ptr(target)), true);
  }

  /** Called when the kernel is done with it: up to then the engine may not collect what the kernel reads and writes. */
  end(): void {
    this.#kept.length = 0;
  }

  text(at: number, value: string): void {
    this.bytes.set(new TextEncoder().encode(value).subarray(0, NAME_BYTES_MAX), at);
  }
}

function attachCall(ifindex: number, program: BpfHandle): Attribute {
  const attribute = new Attribute();
  attribute.u32(0, ifindex);
  attribute.u32(4, program);
  attribute.u32(8, AT_INGRESS);
  return attribute;
}

function mapCall(handle: BpfHandle, key: Uint8Array | null, value: Uint8Array | null): Attribute {
  const attribute = new Attribute();
  attribute.u32(0, handle);
  if (key !== null) attribute.pointer(8, key);
  if (value !== null) attribute.pointer(16, value);
  return attribute;
}

/** Processors that the kernel could ever have: that many values a per-processor map holds for each key. */
export function possibleProcessors(): number {
  const last = /(\d+)\s*$/.exec(readFileSync("/sys/devices/system/cpu/possible", "utf8"))?.[1];
  return Number(last ?? 0) + 1;
}

function failure(what: string, errno: number, details: Readonly<Record<string, string>> = {}): AppError {
  return new AppError("unavailable", `Cannot ${what}: ${ERRORS[errno] ?? `error ${errno}`}`, { details });
}
