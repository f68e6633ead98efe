/**
 * Regular expressions of clients, in the form that Consul takes (Go's RE2), in time that grows with pattern times text and no
 * faster: JavaScript's own go back and forth over the text, and one short pattern can keep the process busy for hours. A pattern
 * becomes a list of steps; matching goes over the text once with the set of all steps that it may be at (Thompson, 1968).
 */
import { registryError } from "../registry-error.ts";
import { type Node, parsePattern } from "./parse-pattern.ts";

type Step =
  | { readonly kind: "take"; readonly fits: (code: number) => boolean }
  | { readonly kind: "at"; readonly holds: (before: number, after: number) => boolean }
  /** Goes on at both places. */
  | { readonly kind: "fork"; first: number; second: number }
  | { readonly kind: "found" };

/** Repetitions like {1000}{1000} would else grow without end; Go refuses the same. */
const STEPS_MAX = 10_000;
/** Before the first and behind the last character. */
const NONE = -1;

/** A test of whether the pattern is found anywhere in a text. @throws AppError 400 for what is no pattern. */
export function compileLinearPattern(source: string): (text: string) => boolean {
  const steps: Step[] = [];
  emit(steps, parsePattern(source));
  steps.push({ kind: "found" });
  return (text) => run(steps, text);
}

function emit(steps: Step[], node: Node): void {
  if (steps.length > STEPS_MAX) throw registryError(400, "Failed to compile regular expression: it is too large");
  switch (node.kind) {
    case "take":
    case "at":
      steps.push(node);
      return;
    case "sequence":
      for (const part of node.parts) emit(steps, part);
      return;
    case "either":
      return emitEither(steps, node.parts);
    case "repeat":
      return emitRepeat(steps, node);
  }
}

function emitEither(steps: Step[], parts: readonly Node[]): void {
  const ends: { kind: "fork"; first: number; second: number }[] = [];
  for (const [at, part] of parts.entries()) {
    const isLast = at === parts.length - 1;
    const fork = { kind: "fork" as const, first: steps.length + 1, second: 0 };
    if (!isLast) steps.push(fork);
    emit(steps, part);
    if (isLast) break;
    const end = { kind: "fork" as const, first: 0, second: 0 };
    steps.push(end);
    ends.push(end);
    fork.second = steps.length;
  }
  for (const end of ends) {
    end.first = steps.length;
    end.second = steps.length;
  }
}

function emitRepeat(steps: Step[], { part, min, max }: Node & { readonly kind: "repeat" }): void {
  for (let count = 0; count < min; count += 1) emit(steps, part);
  if (max === Infinity) {
    const fork = { kind: "fork" as const, first: steps.length + 1, second: 0 };
    const start = steps.length;
    steps.push(fork);
    emit(steps, part);
    steps.push({ kind: "fork", first: start, second: start });
    fork.second = steps.length;
    return;
  }
  const forks: { second: number }[] = [];
  for (let count = min; count < max; count += 1) {
    const fork = { kind: "fork" as const, first: steps.length + 1, second: 0 };
    forks.push(fork);
    steps.push(fork);
    emit(steps, part);
  }
  for (const fork of forks) fork.second = steps.length;
}

function run(steps: readonly Step[], text: string): boolean {
  const codes = Array.from(text, (character) => character.codePointAt(0) ?? 0);
  let places: number[] = [];
  for (let at = 0; at <= codes.length; at += 1) {
    const [before, after] = [codes[at - 1] ?? NONE, codes[at] ?? NONE];
    // It may begin anywhere.
    const reached = reach(steps, [...places, 0], before, after);
    if (reached === "found") return true;
    places = reached.flatMap((place) => {
      const step = steps[place];
      return step?.kind === "take" && after !== NONE && step.fits(after) ? [place + 1] : [];
    });
  }
  return false;
}

/** All places that are reached without taking a character. */
function reach(
  steps: readonly Step[],
  from: readonly number[],
  before: number,
  after: number,
): readonly number[] | "found" {
  const seen = new Set<number>();
  const open = [...from];
  for (let place = open.pop(); place !== undefined; place = open.pop()) {
    if (seen.has(place)) continue;
    seen.add(place);
    const step = steps[place];
    if (step?.kind === "found") return "found";
    if (step?.kind === "fork") open.push(step.first, step.second);
    if (step?.kind === "at" && step.holds(before, after)) open.push(place + 1);
  }
  return [...seen];
}
