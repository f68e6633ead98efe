import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../../model/error.ts";
import { diskFile } from "./disk-file.ts";

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "apollo-disk-file-"));
});
afterAll(async () => {
  await rm(dir, { recursive: true });
});

test("diskFile() replaces the whole text, private to its owner, and leaves nothing beside it", async () => {
  const file = diskFile(join(dir, "deep", "state.json"));
  expect(await file.read()).toBeNull();
  await file.write("long first text");
  await file.write("second");
  expect(await file.read()).toBe("second");
  expect((await stat(file.path)).mode & 0o777).toBe(0o600);
  expect(await readdir(join(dir, "deep"))).toEqual(["state.json"]);
});

test("diskFile() names the file that it cannot write", async () => {
  await writeFile(join(dir, "plain"), "");
  const error = await diskFile(join(dir, "plain", "x"))
    .write("text")
    .catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(AppError);
  expect((error as AppError).message).toContain("plain/x");
});
