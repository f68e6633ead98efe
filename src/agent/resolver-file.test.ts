import { expect, test } from "bun:test";
import fc from "fast-check";
import { mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIpv4 } from "../model/ip.ts";
import { ResolverFile } from "./resolver-file.ts";
import { nameserversOf, originalResolvConf, renderResolvConf } from "./resolver-render.ts";

const OURS = { nameserver: parseIpv4("10.2.1.1"), search: [] };
const ORIGINAL =
  "# by hand\nsearch corp.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\noptions ndots:2\n";

test("renderResolvConf() puts ours first and keeps three nameservers", () => {
  const text = renderResolvConf(ORIGINAL, OURS);
  expect(nameserversOf(text)).toEqual(["10.2.1.1", "192.0.2.1", "192.0.2.2"].map(parseIpv4));
  expect(text).toContain("\nsearch corp.example\n");
  expect(text).toContain("\n#apollo# nameserver 192.0.2.3\n");
  expect(text).toContain("\noptions ndots:2\n");
});

test("renderResolvConf() joins search domains where they are configured", () => {
  const text = renderResolvConf(ORIGINAL, { ...OURS, search: ["service.consul"] });
  expect(text.split("\n").filter((line) => line.startsWith("search"))).toEqual(["search service.consul corp.example"]);
});

test("originalResolvConf() undoes renderResolvConf(), and says when it cannot", () => {
  const line = fc.oneof(
    fc.constantFrom("nameserver 192.0.2.1", "  nameserver 192.0.2.2", "search a b", "domain c", "", "options ndots:2"),
    fc
      .string()
      .filter((text) => !text.includes("\n") && !text.startsWith("#apollo# ") && !text.startsWith("# apollo ")),
  );
  const search = fc.constantFrom([], ["service.consul"]);
  fc.assert(
    fc.property(fc.array(line), search, (lines, domains) => {
      const original = lines.join("\n");
      const text = renderResolvConf(original, { ...OURS, search: domains });
      expect(originalResolvConf(text)).toBe(original);
      expect(nameserversOf(text).length).toBeLessThanOrEqual(3);
    }),
  );
  expect(originalResolvConf(renderResolvConf(ORIGINAL, OURS).replace("# apollo end\n", ""))).toBeNull();
  expect(originalResolvConf("#apollo# nameserver 192.0.2.3\n")).toBeNull();
});

async function inDirectory(
  act: (directory: string, path: string, resolver: ResolverFile) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "apollo-resolver-"));
  try {
    const path = join(directory, "resolv.conf");
    await act(directory, path, new ResolverFile({ path, dataDirectory: join(directory, "data") }));
  } finally {
    await rm(directory, { recursive: true });
  }
}

test("ResolverFile installs once, survives a new process, restores, and leaves nothing", async () => {
  await inDirectory(async (directory, path, resolver) => {
    await writeFile(path, ORIGINAL);
    expect(await resolver.install(OURS)).toBeNull();
    const installed = await readFile(path, "utf8");
    expect(await readFile(join(directory, "data", "resolv.conf.original"), "utf8")).toBe(ORIGINAL);
    const next = new ResolverFile({ path, dataDirectory: join(directory, "data") });
    expect(await next.install(OURS)).toBeNull();
    expect(await readFile(path, "utf8")).toBe(installed);
    expect(next.nameservers()).toEqual(["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(parseIpv4));
    expect(await next.restore()).toBeNull();
    expect(await next.restore()).toBeNull();
    expect(await readFile(path, "utf8")).toBe(ORIGINAL);
    expect((await readdir(directory, { recursive: true })).toSorted()).toEqual(["data", "resolv.conf"]);
  });
});

test("ResolverFile takes a file that was rewritten as the new original", async () => {
  await inDirectory(async (_, path, resolver) => {
    await writeFile(path, ORIGINAL);
    await resolver.install(OURS);
    await writeFile(path, "nameserver 198.51.100.1\n");
    await resolver.install(OURS);
    expect(nameserversOf(await readFile(path, "utf8"))).toEqual(["10.2.1.1", "198.51.100.1"].map(parseIpv4));
    await resolver.restore();
    expect(await readFile(path, "utf8")).toBe("nameserver 198.51.100.1\n");
  });
});

test("ResolverFile goes back to the saved original when its lines were cut into", async () => {
  await inDirectory(async (_, path, resolver) => {
    await writeFile(path, ORIGINAL);
    await resolver.install(OURS);
    await writeFile(path, (await readFile(path, "utf8")).replace("# apollo end\n", ""));
    expect(await resolver.install(OURS)).toBeNull();
    expect(await readFile(path, "utf8")).toBe(renderResolvConf(ORIGINAL, OURS));
    await resolver.restore();
    expect(await readFile(path, "utf8")).toBe(ORIGINAL);
  });
});

test("ResolverFile follows a changed gateway and a missing file", async () => {
  await inDirectory(async (_, path, resolver) => {
    expect(await resolver.install(OURS)).toBeNull();
    expect(await resolver.install({ ...OURS, nameserver: parseIpv4("10.2.9.1") })).toBeNull();
    expect(nameserversOf(await readFile(path, "utf8"))).toEqual([parseIpv4("10.2.9.1")]);
    expect(resolver.nameservers()).toEqual([]);
  });
});

test("ResolverFile does not touch a link, and says what to do instead", async () => {
  await inDirectory(async (directory, path, resolver) => {
    await writeFile(join(directory, "stub"), "nameserver 127.0.0.53\n");
    await symlink(join(directory, "stub"), path);
    const condition = await resolver.install(OURS);
    expect([condition?.code, condition?.hint.includes("resolvectl dns apollo0 10.2.1.1")]).toEqual([
      "resolver-not-managed",
      true,
    ]);
    await resolver.refresh();
    expect(resolver.nameservers()).toEqual([parseIpv4("127.0.0.53")]);
    expect(await resolver.restore()).toBeNull();
    expect(await readFile(join(directory, "stub"), "utf8")).toBe("nameserver 127.0.0.53\n");
  });
});

test("ResolverFile says that it cannot write", async () => {
  await inDirectory(async (directory, path) => {
    await writeFile(path, ORIGINAL);
    const resolver = new ResolverFile({ path, dataDirectory: join(directory, "resolv.conf", "below-a-file") });
    const condition = await resolver.install(OURS);
    expect([condition?.code, condition?.severity]).toEqual(["resolver-not-managed", "warning"]);
    expect(await readFile(path, "utf8")).toBe(ORIGINAL);
  });
});
