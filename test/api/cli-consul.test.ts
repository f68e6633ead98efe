/** `apollo kv` and `apollo service register …` against a real server's API. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CliRun, type CliRunOptions, runTestCli } from "../../src/cli/test-cli.fixture.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { type ConsulServer, startConsulServer } from "./consul-server.ts";

let directory = "";
let running: ConsulServer;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "apollo-cli-consul-"));
  running = await startConsulServer(directory, "off");
});

afterAll(async () => {
  await running.stop();
  rmSync(directory, { recursive: true, force: true });
});

function apollo(line: string, options: CliRunOptions = {}): Promise<CliRun> {
  const env = { APOLLO_SERVER: running.base.replace("/v1", ""), APOLLO_TOKEN: "" };
  return runTestCli(line.split(" "), { env, ...options });
}

test("apollo kv sets, prints, lists and removes keys", async () => {
  expect((await apollo("kv put app/color blue")).out).toBe("Set app/color\n");
  expect((await apollo("kv put app/deep/er x --flags 18446744073709551615")).code).toBe(0);
  expect((await apollo("kv get app/color")).out).toBe("blue");
  expect((await apollo("kv get app/ --recurse")).out).toBe("app/color:blue\napp/deep/er:x\n");
  expect((await apollo("kv list app/")).out).toBe("app/color\napp/deep/\n");
  expect((await apollo("kv list app/ --recurse")).out).toBe("app/color\napp/deep/er\n");
  expect((await apollo("kv get app/deep/er --json")).out).toContain('"Flags": 18446744073709551615');
  const missing = await apollo("kv get app/deep");
  expect([missing.code === 0, missing.err]).toEqual([
    false,
    'Error: Cannot find key "app/deep"\nHint: There are keys below it: apollo kv list app/deep --recurse\n',
  ]);
  expect((await apollo("kv delete app/ --recurse")).out).toBe("Removed 2 keys below app/\n");
  expect((await apollo("kv delete app/color")).err).toContain('Cannot find key "app/color"');
  expect((await apollo("kv list nothing/here")).err).toBe("No key begins with nothing/here\n");
});

test("apollo kv put --cas refuses what changed meanwhile", async () => {
  expect((await apollo("kv put owner me --cas 0")).code).toBe(0);
  const second = await apollo("kv put owner you --cas 0");
  expect(second.err).toBe(
    "Error: Cannot change owner: it is not at index 0 any more\nHint: See its index: apollo kv get owner --detailed\n",
  );
  const index = /^Changed: +(\d+)$/m.exec((await apollo("kv get owner --detailed")).out)?.[1];
  expect((await apollo(`kv delete owner --cas ${Number(index) + 1}`)).code).not.toBe(0);
  expect((await apollo(`kv put owner you --cas ${index}`)).out).toBe("Set owner\n");
});

test("apollo kv export and import keep every byte and flag", async () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, at) => at);
  const entries = [
    { key: "bin", flags: 0, value: bytes.toBase64() },
    { key: "long", flags: 7, value: new Uint8Array(400_000).fill(65).toBase64() },
    { key: "none", flags: 0, value: "" },
  ];
  const files = { "a.json": JSON.stringify(entries).replace('"flags":7', '"flags":3304740253564472344') };
  expect((await apollo("kv import a.json --prefix copy/", { files })).out).toBe("Imported 3 keys\n");
  const text = (await apollo("kv export copy/")).out;
  expect(text).toContain("3304740253564472344");
  const back = JSON.parse(text) as typeof entries;
  expect(back.map(({ key }) => key)).toEqual(["copy/bin", "copy/long", "copy/none"]);
  expect(back.map(({ value }) => value)).toEqual(entries.map(({ value }) => value));
  expect((await apollo("kv put - -", { stdin: "a\nb" })).code).toBe(0);
  expect((await apollo("kv get -")).out).toBe("a\nb");
  const bad = await apollo("kv import a.json", {
    files: { "a.json": '[{"key":"a","value":"YQ=="},{"key":"b","value":1}]' },
  });
  expect(bad.err).toContain("Cannot import a.json: entry 2 is not");
  expect((await apollo("kv get a")).code).not.toBe(0);
});

test("apollo kv watch tells each change and ends with Ctrl-C", async () => {
  const stop = new AbortController();
  const { watches } = running.server.consul.parts.registry;
  const watching = apollo("kv watch w/ --recurse --json", { signal: stop.signal });
  const changes = [
    ["PUT", "w/a", "1"],
    ["PUT", "w/b", "2"],
    ["DELETE", "w/a", ""],
  ] as const;
  for (const [method, key, body] of changes) {
    while (watches.waiting === 0) await systemClock.sleep(5);
    await fetch(`${running.base}/kv/${key}`, { method, ...(method === "PUT" ? { body } : {}) });
  }
  while (watches.waiting === 0) await systemClock.sleep(5);
  stop.abort();
  const { code, out, err } = await watching;
  expect([code, err]).toEqual([130, ""]);
  expect(out).toBe('{"key":"w/a","value":"1"}\n{"key":"w/b","value":"2"}\n{"key":"w/a","value":null}\n');
});

test("apollo service register, maintenance and deregister go through to the catalog", async () => {
  const line = "service register db --node ext --node-address 198.51.100.7 --port 5432 --tag primary --meta owner=me";
  expect((await apollo(line)).out).toBe("Registered db as db on ext\n");
  const { catalog } = running.server.cluster;
  expect(catalog.service("db")?.endpoints).toMatchObject([
    { address: "198.51.100.7", port: 5432, tags: ["primary"], meta: { owner: "me" }, health: "passing" },
  ]);
  expect((await apollo("service maintenance db on --reason disk")).out).toContain("db on ext is in maintenance");
  expect(catalog.service("db")?.endpoints[0]?.health).toBe("critical");
  expect((await apollo("service maintenance db off")).out).toBe("db on ext is back\n");
  expect(catalog.service("db")?.endpoints[0]?.health).toBe("passing");
  await apollo("service register db --node ext --id db2 --port 5433");
  const several = await apollo("service deregister db");
  expect(several.err).toContain("Cannot tell which instance of db is meant: there are 2");
  expect(several.err).toContain("--node ext --id db, or --node ext --id db2");
  expect((await apollo("service deregister db --id db2")).out).toBe("Deregistered db2 on ext\n");
  expect((await apollo("service deregister db")).out).toBe("Deregistered db on ext\n");
  expect(catalog.service("db")).toBeNull();
  expect((await apollo("service deregister bd")).err).toContain('Cannot find service "bd"');
  expect((await apollo("service register x --node nowhere")).err).toContain("Must provide address");
  expect((await apollo("service register x --port 70000")).err).toContain('Cannot use port "70000"');
});

test("apollo service watch tells what comes, changes and goes", async () => {
  const stop = new AbortController();
  const { watches } = running.server.consul.parts.registry;
  const watching = apollo("service watch cache", { signal: stop.signal });
  const steps = [
    "service register cache --node ext --node-address 198.51.100.7 --port 6379",
    "service maintenance cache on",
    "service deregister cache",
  ];
  for (const step of steps) {
    while (watches.waiting === 0) await systemClock.sleep(5);
    expect((await apollo(step)).err).toBe("");
  }
  while (watches.waiting === 0) await systemClock.sleep(5);
  stop.abort();
  const { code, out } = await watching;
  expect(code).toBe(130);
  expect(out.split("\n")).toEqual([
    "+ cache 198.51.100.7:6379 on ext passing",
    "~ cache 198.51.100.7:6379 on ext passing -> critical",
    "- cache 198.51.100.7:6379 on ext gone",
    "",
  ]);
});

/** The platform's own lists are on the HTTPS port alone. */
async function asAdmin(): Promise<CliRunOptions> {
  const admin = JSON.parse(await Bun.file(running.server.adminFile).text()) as { token: string; ca: string };
  return {
    env: { APOLLO_SERVER: `https://127.0.0.1:${running.server.http.port}`, APOLLO_TOKEN: admin.token },
    files: { "ca.pem": admin.ca },
  };
}

test("apollo dns explain follows a prepared query", async () => {
  await apollo("service register cache --node ext --node-address 198.51.100.7 --port 6379 --tag v1");
  const query = { Name: "near-cache", Service: { Service: "cache", Tags: ["v1"] }, DNS: { TTL: "7s" } };
  expect((await fetch(`${running.base}/query`, { method: "POST", body: JSON.stringify(query) })).status).toBe(200);
  const { out } = await apollo("dns explain near-cache.query.consul --ca ca.pem", await asAdmin());
  expect(out).toContain("NOERROR");
  expect(out).toMatch(/near-cache\.query\.consul +7 +A +198\.51\.100\.7/);
  await apollo("service deregister cache");
});

test("apollo service watch without names tells of every service", async () => {
  const stop = new AbortController();
  const { watches } = running.server.consul.parts.registry;
  const watching = apollo("service watch --json --ca ca.pem", { signal: stop.signal, ...(await asAdmin()) });
  const steps = [
    "service register one --node ext --node-address 198.51.100.7 --port 1",
    "service register two --node ext --port 2",
    "service maintenance one on",
    "service deregister two",
  ];
  for (const step of steps) {
    while (watches.waiting < 2) await systemClock.sleep(5);
    expect((await apollo(step)).err).toBe("");
  }
  while (watches.waiting < 2) await systemClock.sleep(5);
  stop.abort();
  const { code, out } = await watching;
  expect(code).toBe(130);
  const told = out.trim().split("\n").map((line) => JSON.parse(line) as Record<string, string>); // prettier-ignore
  expect(told.map(({ change, service, health }) => `${change} ${service} ${health}`)).toEqual([
    "came one passing",
    "came two passing",
    "changed one critical",
    "left two passing",
  ]);
  await apollo("service deregister one");
});
