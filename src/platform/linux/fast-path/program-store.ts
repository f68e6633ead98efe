/**
 * Programs and maps by name, pinned in a file system of the kernel's so that they outlive the process: a folder for each
 * release of the programs, named by their digest. The next agent of the same release adopts what it finds; one of another
 * release makes its own, moves what only the kernel knew, and the filters change over one by one without a gap.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, rmdirSync, statfsSync, unlinkSync } from "node:fs";
import { AppError, describeError } from "../../../model/error.ts";
import type { Runner } from "../../ports/runner.ts";
import { BpfKernel } from "./bpf-kernel.ts";
import type { BpfHandle } from "./bpf-kernel.ts";
import type { BpfObject, BpfProgramSpec } from "./parse-bpf-object.ts";
import { parseBpfObject } from "./parse-bpf-object.ts";

/** f_type of the kernel's file system for programs and maps. */
const BPF_FS = 0xcafe4a11;
/** Instruction class and source that make a 64-bit load mean "the map with this handle". */
const MAP_BY_HANDLE = 0x10;
const FOLDER_NAME = /^[0-9a-f]{16}$/;
/** Learnt by the programs, told by nobody: what a new release has to take over. */
const LEARNT = "translated";
/** Says for how long DNS answers are given; all zero: for none. */
const ANSWERING = "dns_state";
const KEY_BYTES = 4;
/** The kernel takes as many bytes as the map's values have, in whatever release. */
const VALUE_BYTES_MAX = 256;

export interface OpenPrograms {
  readonly kernel: BpfKernel;
  /** Where they are pinned. */
  readonly folder: string;
  readonly maps: ReadonlyMap<string, BpfHandle>;
  readonly object: BpfObject;
  /** Number of each program, as tc shows it. */
  readonly programIds: ReadonlyMap<string, number>;
  close(): void;
}

/** Opens or makes all of them. @throws AppError `unavailable` when the kernel refuses. */
export async function openPrograms(directory: string, bytes: Uint8Array, runner: Runner): Promise<OpenPrograms> {
  const object = parseBpfObject(bytes);
  await mountBpf(directory, runner);
  const kernel = new BpfKernel();
  const folder = `${directory}/${digestOf(bytes)}`;
  const names = [...object.maps, ...object.programs].map(({ name }) => name);
  if (!names.every((name) => existsSync(`${folder}/${name}`))) {
    // What lies there is half of an attempt that was interrupted.
    removeFolder(folder);
    install(kernel, object, { directory, folder });
  }
  for (const other of listFolders(directory)) {
    if (other === folder) continue;
    silence(kernel, other);
    removeFolder(other);
  }
  return adopt(kernel, object, folder);
}

/** Unmounting drops all pins; programs stay where filters hold them. */
export async function removePrograms(directory: string, runner: Runner): Promise<void> {
  if (!isBpf(directory)) return;
  for (const folder of listFolders(directory)) removeFolder(folder);
  await runner.run(["umount", directory]);
  rmdirSync(directory);
}

async function mountBpf(directory: string, runner: Runner): Promise<void> {
  if (isBpf(directory)) return;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  await runner.run(["mount", "-t", "bpf", "-o", "mode=700", "bpf", directory]);
}

export function isBpf(directory: string): boolean {
  try {
    return statfsSync(directory).type === BPF_FS;
  } catch {
    return false;
  }
}

function install(
  kernel: BpfKernel,
  object: BpfObject,
  { directory, folder }: { readonly directory: string; readonly folder: string },
): void {
  mkdirSync(folder, { recursive: true });
  const maps = new Map(object.maps.map((spec) => [spec.name, kernel.createMap(spec)]));
  try {
    takeOver(kernel, { object, directory, maps });
    for (const [name, handle] of maps) kernel.pin(handle, `${folder}/${name}`);
    for (const program of object.programs) {
      const handle = kernel.loadProgram(program.name, link(program, maps), object.license);
      try {
        kernel.pin(handle, `${folder}/${program.name}`);
      } finally {
        kernel.close(handle);
      }
    }
  } finally {
    for (const handle of maps.values()) kernel.close(handle);
  }
}

/** Copies what an older release learnt, when both keep it in the same form. */
function takeOver(
  kernel: BpfKernel,
  { object, directory, maps }: { object: BpfObject; directory: string; maps: ReadonlyMap<string, BpfHandle> },
): void {
  const spec = object.maps.find(({ name }) => name === LEARNT);
  const to = maps.get(LEARNT);
  if (spec === undefined || to === undefined) return;
  for (const folder of listFolders(directory)) {
    const from = kernel.open(`${folder}/${LEARNT}`);
    if (from === null) continue;
    for (const { key, value } of kernel.entries(from, { key: spec.keyBytes, value: spec.valueBytes })) {
      kernel.update(to, key, value);
    }
    kernel.close(from);
  }
}

/** Programs of an older release stay at their devices for a moment more: nobody tells them any longer what is new. */
function silence(kernel: BpfKernel, folder: string): void {
  const handle = kernel.open(`${folder}/${ANSWERING}`);
  if (handle === null) return;
  kernel.update(handle, new Uint8Array(KEY_BYTES), new Uint8Array(VALUE_BYTES_MAX));
  kernel.close(handle);
}

function link({ code, maps: uses }: BpfProgramSpec, maps: ReadonlyMap<string, BpfHandle>): Uint8Array {
  const linked = code.slice();
  const view = new DataView(linked.buffer);
  for (const { offset, map } of uses) {
    view.setUint8(offset + 1, (view.getUint8(offset + 1) & 0x0f) | MAP_BY_HANDLE);
    view.setUint32(offset + 4, maps.get(map) ?? 0, true);
  }
  return linked;
}

function adopt(kernel: BpfKernel, object: BpfObject, folder: string): OpenPrograms {
  const maps = new Map(object.maps.map(({ name }) => [name, mustOpen(kernel, `${folder}/${name}`)]));
  const programIds = new Map(
    object.programs.map(({ name }) => {
      const handle = mustOpen(kernel, `${folder}/${name}`);
      const id = kernel.programId(handle);
      kernel.close(handle);
      return [name, id] as const;
    }),
  );
  return {
    kernel,
    folder,
    maps,
    object,
    programIds,
    close: () => {
      for (const handle of maps.values()) kernel.close(handle);
    },
  };
}

function mustOpen(kernel: BpfKernel, path: string): BpfHandle {
  const handle = kernel.open(path);
  if (handle === null) throw new AppError("unavailable", `Cannot open "${path}": it is gone`);
  return handle;
}

function digestOf(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex").slice(0, 16);
}

/** The kernel puts files of its own beside them. */
function listFolders(directory: string): readonly string[] {
  return readdirSync(directory)
    .filter((name) => FOLDER_NAME.test(name))
    .map((name) => `${directory}/${name}`);
}

/** The kernel's file system knows no recursive removal of folders that are not empty: file by file. */
function removeFolder(folder: string): void {
  if (!existsSync(folder)) return;
  try {
    for (const name of readdirSync(folder)) unlinkSync(`${folder}/${name}`);
    rmSync(folder, { recursive: true });
  } catch (cause) {
    throw new AppError("unavailable", `Cannot remove "${folder}": ${describeError(cause)}`, { cause });
  }
}
