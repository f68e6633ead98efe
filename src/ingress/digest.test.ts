import { expect, test } from "bun:test";
import { digest } from "./digest.ts";

test("digest() is stable: it is part of names that a running HAProxy has", () => {
  expect(digest("")).toMatch(/^[0-9a-f]{16}$/);
  expect(digest("host-1:web:8080|10.2.1.2|8080")).toBe(digest("host-1:web:8080|10.2.1.2|8080"));
});

test("digest() tells texts apart that differ little, in its first 32 bits too", () => {
  const texts: string[] = [];
  for (let a = 0; a < 40; a++) for (let b = 1; b < 250; b++) texts.push(`host-${a}:web-${b}:8080|10.2.${a}.${b}|8080`);
  const digests = texts.map(digest);
  expect(new Set(digests).size).toBe(texts.length);
  // Of 9,960 random 32-bit values, 0.01 pairs are equal on average.
  expect(new Set(digests.map((one) => one.slice(0, 8))).size).toBeGreaterThan(texts.length - 3);
});
