/** Reads a regular expression as Go does (RE2's syntax), without what needs a memory of the text: references and look-around. */
import { registryError } from "../registry-error.ts";

export type Node =
  | { readonly kind: "take"; readonly fits: (code: number) => boolean }
  | { readonly kind: "at"; readonly holds: (before: number, after: number) => boolean }
  | { readonly kind: "sequence"; readonly parts: readonly Node[] }
  | { readonly kind: "either"; readonly parts: readonly Node[] }
  | { readonly kind: "repeat"; readonly part: Node; readonly min: number; readonly max: number };

const PATTERN_CHARS_MAX = 1024;
const DEPTH_MAX = 100;
/** As in Go. */
const REPEAT_MAX = 1000;

type Fits = (code: number) => boolean;
const NEWLINE = 10;
const isDigit: Fits = (code) => code >= 48 && code <= 57;
const isWord: Fits = (code) => isDigit(code) || code === 95 || isLetter(code);
const isLetter: Fits = (code) => (code >= 65 && code <= 90) || (code >= 97 && code <= 122);
const isSpace: Fits = (code) => code === 9 || code === 10 || code === 12 || code === 13 || code === 32;
const not =
  (fits: Fits): Fits =>
  (code) =>
    !fits(code);
const CLASSES: Readonly<Record<string, Fits>> = {
  d: isDigit,
  D: not(isDigit),
  w: isWord,
  W: not(isWord),
  s: isSpace,
  S: not(isSpace),
};
const NAMED: Readonly<Record<string, Fits>> = {
  alpha: isLetter,
  digit: isDigit,
  alnum: (code) => isDigit(code) || isLetter(code),
  lower: (code) => code >= 97 && code <= 122,
  upper: (code) => code >= 65 && code <= 90,
  space: (code) => isSpace(code) || code === 11,
  word: isWord,
  xdigit: (code) => isDigit(code) || (code >= 65 && code <= 70) || (code >= 97 && code <= 102),
  punct: (code) => code >= 33 && code <= 126 && !isDigit(code) && !isLetter(code),
};
const CONTROLS: Readonly<Record<string, number>> = { n: 10, t: 9, r: 13, f: 12, v: 11, a: 7 };

/** @throws AppError 400 that says what is wrong. */
export function parsePattern(source: string): Node {
  if (source.length > PATTERN_CHARS_MAX) throw fault("it is too long");
  const reader = new PatternReader(Array.from(source));
  const node = reader.either(0);
  if (!reader.done) throw fault("unexpected )");
  return node;
}

function fault(what: string): Error {
  return registryError(400, `Failed to compile regular expression: ${what}`);
}

interface Flags {
  readonly ignoreCase: boolean;
  readonly multiline: boolean;
  readonly dotAll: boolean;
}

class PatternReader {
  readonly #characters: readonly string[];
  #at = 0;
  #flags: Flags = { ignoreCase: false, multiline: false, dotAll: false };

  constructor(characters: readonly string[]) {
    this.#characters = characters;
  }

  get done(): boolean {
    return this.#at >= this.#characters.length;
  }

  either(depth: number): Node {
    if (depth > DEPTH_MAX) throw fault("it is nested too deeply");
    const outer = this.#flags;
    const parts = [this.#sequence(depth)];
    while (this.#take("|")) parts.push(this.#sequence(depth));
    this.#flags = outer;
    const [only] = parts;
    return parts.length === 1 && only !== undefined ? only : { kind: "either", parts };
  }

  #sequence(depth: number): Node {
    const parts: Node[] = [];
    while (!this.done && this.#peek() !== "|" && this.#peek() !== ")") {
      const atom = this.#atom(depth);
      if (atom !== null) parts.push(this.#repeated(atom));
    }
    return { kind: "sequence", parts };
  }

  #repeated(part: Node): Node {
    const times = this.#times();
    if (times === null) return part;
    // Whether as few or as many as can be are taken first makes no difference to whether there is a match.
    this.#take("?");
    if (this.#times() !== null) throw fault("invalid nested repetition operator");
    return { kind: "repeat", part, ...times };
  }

  #times(): { readonly min: number; readonly max: number } | null {
    if (this.#take("*")) return { min: 0, max: Infinity };
    if (this.#take("+")) return { min: 1, max: Infinity };
    if (this.#take("?")) return { min: 0, max: 1 };
    const rest = this.#characters.slice(this.#at, this.#at + 12).join("");
    // Anything else in braces is a text of braces.
    const [all, low = "", comma, high = ""] = /^\{(\d{1,4})(?:(,)(\d{0,4}))?\}/.exec(rest) ?? [];
    if (all === undefined) return null;
    this.#at += all.length;
    const min = Number(low);
    const max = comma === undefined ? min : high === "" ? Infinity : Number(high);
    if (min > REPEAT_MAX || (max !== Infinity && (max > REPEAT_MAX || max < min))) throw fault("invalid repeat count");
    return { min, max };
  }

  /** Null for flags, which stand for nothing. */
  #atom(depth: number): Node | null {
    const character = this.#next();
    switch (character) {
      case "(":
        return this.#group(depth);
      case "[":
        return { kind: "take", fits: this.#class() };
      case ".":
        return { kind: "take", fits: this.#flags.dotAll ? () => true : (code) => code !== NEWLINE };
      case "^":
        return this.#edge((before) => before, this.#flags.multiline);
      case "$":
        return this.#edge((_before, after) => after, this.#flags.multiline);
      case "*":
      case "+":
      case "?":
        throw fault("missing argument to repetition operator");
      case "\\":
        return this.#escape();
      default:
        return { kind: "take", fits: this.#literal(codeOf(character)) };
    }
  }

  #edge(side: (before: number, after: number) => number, multiline: boolean): Node {
    return {
      kind: "at",
      holds: (before, after) => {
        const code = side(before, after);
        return code < 0 || (multiline && code === NEWLINE);
      },
    };
  }

  #group(depth: number): Node | null {
    if (!this.#take("?")) return this.#closed(depth);
    if (this.#take("P") || this.#peek() === "<") return this.#named(depth);
    const [wanted, isOn] = [new Map<string, boolean>(), { value: true }];
    for (;;) {
      const flag = this.#next();
      if (flag === "-" && isOn.value) isOn.value = false;
      else if ("imsU".includes(flag)) wanted.set(flag, isOn.value);
      else if (flag === ":" || flag === ")") {
        const outer = this.#flags;
        this.#flags = withFlags(outer, wanted);
        if (flag === ")") return null;
        const node = this.#closed(depth);
        this.#flags = outer;
        return node;
      } else throw fault("invalid or unsupported Perl syntax");
    }
  }

  #named(depth: number): Node {
    const rest = this.#characters.slice(this.#at).join("");
    const name = /^<[A-Za-z_]\w*>/.exec(rest)?.[0];
    if (name === undefined) throw fault("invalid or unsupported Perl syntax");
    this.#at += name.length;
    return this.#closed(depth);
  }

  #closed(depth: number): Node {
    const node = this.either(depth + 1);
    if (!this.#take(")")) throw fault("missing closing )");
    return node;
  }

  #escape(): Node {
    if (this.done) throw fault("trailing backslash at end of expression");
    const character = this.#next();
    const fits = CLASSES[character];
    if (fits !== undefined) return { kind: "take", fits };
    if (character === "b" || character === "B") {
      const between = character === "b";
      return { kind: "at", holds: (before, after) => (isWord(before) !== isWord(after)) === between };
    }
    if (character === "A") return this.#edge((before) => before, false);
    if (character === "z") return this.#edge((_before, after) => after, false);
    return { kind: "take", fits: this.#literal(this.#escapedCode(character)) };
  }

  #escapedCode(character: string): number {
    if (character === "x") {
      const hex = /^(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{2}))/.exec(
        this.#characters.slice(this.#at, this.#at + 8).join(""),
      );
      if (hex === null) throw fault("invalid escape sequence");
      this.#at += hex[0].length;
      return Number.parseInt(hex[1] ?? hex[2] ?? "", 16);
    }
    const control = CONTROLS[character];
    if (control !== undefined) return control;
    // Letters and digits with a backslash have a meaning, be it one that is not known here.
    if (/[A-Za-z0-9]/.test(character)) throw fault(`invalid escape sequence: \\${character}`);
    return codeOf(character);
  }

  #class(): Fits {
    const isNot = this.#take("^");
    const tests: Fits[] = [];
    for (let first = true; first || this.#peek() !== "]"; first = false) {
      if (this.done) throw fault("missing closing ]");
      tests.push(this.#classPart());
    }
    this.#at += 1;
    const fits: Fits = (code) => tests.some((test) => test(code));
    return isNot ? not(fits) : fits;
  }

  #classPart(): Fits {
    const rest = this.#characters.slice(this.#at, this.#at + 16).join("");
    const [all, isNot, name = ""] = /^\[:(\^?)(\w+):\]/.exec(rest) ?? [];
    if (all !== undefined) {
      const fits = NAMED[name];
      if (fits === undefined) throw fault("invalid character class range");
      this.#at += all.length;
      return isNot === "^" ? not(fits) : fits;
    }
    const low = this.#classCode();
    if (typeof low !== "number") return low;
    if (this.#peek() !== "-" || this.#characters[this.#at + 1] === "]") return this.#literal(low);
    this.#at += 1;
    const high = this.#classCode();
    if (typeof high !== "number" || high < low) throw fault("invalid character class range");
    const fits: Fits = (code) => code >= low && code <= high;
    return this.#flags.ignoreCase ? (code) => fits(code) || otherCases(code).some(fits) : fits;
  }

  #classCode(): number | Fits {
    const character = this.#next();
    if (character !== "\\") return codeOf(character);
    const escaped = this.#next();
    return CLASSES[escaped] ?? this.#escapedCode(escaped);
  }

  #literal(wanted: number): Fits {
    if (!this.#flags.ignoreCase) return (code) => code === wanted;
    const all = new Set([wanted, ...otherCases(wanted)]);
    return (code) => all.has(code);
  }

  #peek(): string | undefined {
    return this.#characters[this.#at];
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at += 1;
    return true;
  }

  #next(): string {
    const character = this.#peek();
    if (character === undefined) throw fault("unexpected end of expression");
    this.#at += 1;
    return character;
  }
}

function codeOf(character: string): number {
  return character.codePointAt(0) ?? 0;
}

function otherCases(code: number): readonly number[] {
  const character = String.fromCodePoint(code);
  return [character.toLowerCase(), character.toUpperCase()]
    .filter((other) => other !== character && Array.from(other).length === 1)
    .map(codeOf);
}

function withFlags(flags: Flags, wanted: ReadonlyMap<string, boolean>): Flags {
  return {
    ignoreCase: wanted.get("i") ?? flags.ignoreCase,
    multiline: wanted.get("m") ?? flags.multiline,
    dotAll: wanted.get("s") ?? flags.dotAll,
  };
}
