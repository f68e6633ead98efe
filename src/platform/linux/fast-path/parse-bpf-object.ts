/**
 * Reads a BPF object as clang writes it: 64-bit little-endian ELF whose sections "classifier/NAME" hold one program each and
 * whose section "maps" holds the maps, five 32-bit numbers each. That is all of the format that our one object uses; a
 * library for the rest of it would be larger than this agent's whole network code.
 */
import { AppError } from "../../../model/error.ts";

export interface BpfMapSpec {
  readonly name: string;
  readonly type: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly entries: number;
  readonly flags: number;
}

export interface BpfProgramSpec {
  readonly name: string;
  /** Instructions of 8 bytes; where `maps` says so, the number of a map has to be written into them. */
  readonly code: Uint8Array;
  /** Byte offset of the instruction that takes a map, and the name of the map. */
  readonly maps: readonly { readonly offset: number; readonly map: string }[];
}

export interface BpfObject {
  readonly maps: readonly BpfMapSpec[];
  readonly programs: readonly BpfProgramSpec[];
  readonly license: string;
}

interface Section {
  readonly name: string;
  readonly type: number;
  readonly bytes: Uint8Array;
  readonly link: number;
  readonly info: number;
}

const PROGRAM_PREFIX = "classifier/";
const SECTION_RELOCATIONS = 9;
const SECTION_SYMBOLS = 2;
const MAP_BYTES = 20;
const SYMBOL_BYTES = 24;
const RELOCATION_BYTES = 16;
/** e_machine of BPF. */
const MACHINE = 247;
const SECTIONS_MAX = 1000;

/** @throws AppError `internal` for anything else than what our build makes. */
export function parseBpfObject(bytes: Uint8Array): BpfObject {
  try {
    return readObject(bytes);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw refuse("it ends in the middle", cause);
  }
}

function readObject(bytes: Uint8Array): BpfObject {
  const sections = readSections(bytes);
  const at = sections.findIndex(({ name }) => name === "maps");
  const symbols = sections.find(({ type }) => type === SECTION_SYMBOLS);
  if (symbols === undefined) throw refuse("it has no symbols");
  const names = sections[symbols.link]?.bytes ?? new Uint8Array();
  const maps = readMaps(sections[at]?.bytes ?? new Uint8Array(), { symbols: symbols.bytes, names, section: at });
  const programs = sections.flatMap(({ name, bytes: code }, index) => {
    if (!name.startsWith(PROGRAM_PREFIX)) return [];
    const relocations = sections.find((each) => each.type === SECTION_RELOCATIONS && each.info === index);
    const uses = readRelocations(relocations?.bytes ?? new Uint8Array(), symbols.bytes, names);
    for (const { map } of uses) {
      if (!maps.some((each) => each.name === map)) throw refuse(`program ${name} uses "${map}", which is no map`);
    }
    return [{ name: name.slice(PROGRAM_PREFIX.length), code: code.slice(), maps: uses }];
  });
  const license = textAt(sections.find(({ name }) => name === "license")?.bytes ?? new Uint8Array(), 0);
  return { maps, programs, license };
}

function readSections(bytes: Uint8Array): readonly Section[] {
  const view = viewOf(bytes);
  if (view.getUint32(0, false) !== 0x7f454c46 || view.getUint16(4, false) !== 0x0201) throw refuse("it is no ELF file");
  if (view.getUint16(18, true) !== MACHINE) throw refuse("it is for another machine than BPF");
  const [start, count, namesAt] = [
    Number(view.getBigUint64(40, true)),
    view.getUint16(60, true),
    view.getUint16(62, true),
  ];
  if (count > SECTIONS_MAX) throw refuse(`it has ${count} sections`);
  const headers = Array.from({ length: count }, (_, index) => {
    const at = start + index * 64;
    const offset = Number(view.getBigUint64(at + 24, true));
    const size = Number(view.getBigUint64(at + 32, true));
    if (offset + size > bytes.length) throw refuse("a section ends behind it");
    return {
      nameAt: view.getUint32(at, true),
      type: view.getUint32(at + 4, true),
      bytes: bytes.subarray(offset, offset + size),
      link: view.getUint32(at + 40, true),
      info: view.getUint32(at + 44, true),
    };
  });
  const names = headers[namesAt]?.bytes ?? new Uint8Array();
  return headers.map(({ nameAt, ...rest }) => ({ name: textAt(names, nameAt), ...rest }));
}

function readMaps(
  bytes: Uint8Array,
  { symbols, names, section }: { readonly symbols: Uint8Array; readonly names: Uint8Array; readonly section: number },
): readonly BpfMapSpec[] {
  const view = viewOf(bytes);
  const table = viewOf(symbols);
  const maps: BpfMapSpec[] = [];
  for (let at = 0; at + SYMBOL_BYTES <= symbols.length; at += SYMBOL_BYTES) {
    if (table.getUint16(at + 6, true) !== section || Number(table.getBigUint64(at + 16, true)) !== MAP_BYTES) continue;
    const offset = Number(table.getBigUint64(at + 8, true));
    const field = (index: number): number => view.getUint32(offset + 4 * index, true);
    maps.push({
      name: textAt(names, table.getUint32(at, true)),
      type: field(0),
      keyBytes: field(1),
      valueBytes: field(2),
      entries: field(3),
      flags: field(4),
    });
  }
  return maps.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function readRelocations(bytes: Uint8Array, symbols: Uint8Array, names: Uint8Array): BpfProgramSpec["maps"] {
  const view = viewOf(bytes);
  const uses: { offset: number; map: string }[] = [];
  for (let at = 0; at + RELOCATION_BYTES <= bytes.length; at += RELOCATION_BYTES) {
    const symbol = Number(view.getBigUint64(at + 8, true) >> 32n);
    const map = textAt(names, viewOf(symbols).getUint32(symbol * SYMBOL_BYTES, true));
    uses.push({ offset: Number(view.getBigUint64(at, true)), map });
  }
  return uses;
}

function textAt(bytes: Uint8Array, start: number): string {
  const end = bytes.indexOf(0, start);
  return new TextDecoder().decode(bytes.subarray(start, end < 0 ? bytes.length : end));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function refuse(why: string, cause?: unknown): AppError {
  return new AppError("internal", `Cannot read the fast path's program: ${why}`, { cause, hint: "npm run build" });
}
