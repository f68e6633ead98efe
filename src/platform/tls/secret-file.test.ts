import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSecretFile } from "./secret-file.ts";

test("openSecretFile() makes the secret once, for its owner alone, and refuses an empty file", () => {
  const directory = mkdtempSync(join(tmpdir(), "apollo-secret-"));
  try {
    const path = join(directory, "deep", "admin-token");
    expect(openSecretFile(path, () => "first")).toBe("first");
    expect(openSecretFile(path, () => "second")).toBe("first");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(directory, "deep"))).toEqual(["admin-token"]);
    writeFileSync(path, "\n");
    expect(() => openSecretFile(path, () => "third")).toThrow(/the file is empty/);
    expect(() => openSecretFile(join(path, "below"), () => "x")).toThrow(/Cannot open secret/);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
