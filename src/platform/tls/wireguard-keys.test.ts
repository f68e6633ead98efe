import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openKeyFile } from "./wireguard-keys.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "apollo-keys-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("openKeyFile() makes two pairs that only the owner reads, and finds them again", () => {
  const path = join(directory, "below", "keys.json");
  const keys = openKeyFile(path, 1000);
  const { publicKey, nextPublicKey } = keys.announced();
  for (const key of [publicKey, nextPublicKey]) expect(key).toMatch(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/);
  expect(nextPublicKey).not.toBe(publicKey);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(openKeyFile(path, 2000).announced()).toEqual({ publicKey, nextPublicKey });
  expect(openKeyFile(path, 2000).sinceMs()).toBe(1000);
});

test("rotate() takes the next pair into use, makes another, and forgets the old private half", () => {
  const path = join(directory, "keys.json");
  const keys = openKeyFile(path, 1000);
  const before = keys.announced();
  expect(keys.privateKeyOf(before.nextPublicKey)).toBeNull();
  const old = keys.privateKeyOf(before.publicKey);
  const after = keys.rotate(5000);
  expect(after.publicKey).toBe(before.nextPublicKey);
  expect(after.nextPublicKey).not.toBe(before.publicKey);
  expect(keys.privateKeyOf(before.publicKey)).toBeNull();
  expect(keys.privateKeyOf(after.publicKey)).toMatch(/^[A-Za-z0-9+/]{43}=$/);
  expect(readFileSync(path, "utf8")).not.toContain(String(old));
  expect(openKeyFile(path, 9000).announced()).toEqual(after);
  expect(keys.sinceMs()).toBe(5000);
  expect(readdirSync(directory)).toEqual(["keys.json"]);
});

test("openKeyFile() names a file that holds something else, and replaces none", () => {
  const path = join(directory, "keys.json");
  for (const text of ["", "{}", '{"form":1,"sinceMs":0,"current":{"publicKey":"x","privateKey":"y"}}']) {
    writeFileSync(path, text);
    expect(() => openKeyFile(path, 0)).toThrow(/does not hold this host's keys/);
    expect(readFileSync(path, "utf8")).toBe(text);
  }
  rmSync(path);
  chmodSync(directory, 0o700);
  expect(() => openKeyFile(join(directory, "keys.json", "\0"), 0)).toThrow(/Cannot (read|write) keys/);
});
