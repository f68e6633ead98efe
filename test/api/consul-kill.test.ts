/** kill -9 of a server in the middle of writing loses nothing that a client was told is done. */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openRegistry } from "../../src/discovery/registry/registry-parts.ts";
import { systemClock } from "../../src/platform/clock/system-clock.ts";
import { systemRandom } from "../../src/platform/clock/system-random.ts";
import { nodeDigest } from "../../src/platform/digest/node-digest.ts";
import { SqliteStore } from "../../src/platform/sqlite/sqlite-store.ts";

const SOURCE = join(import.meta.dir, "../../src");

/** A server of its own process, which prints the port of its plain listener. */
function script(directory: string): string {
  const from = (path: string): string => JSON.stringify(join(SOURCE, path));
  return `
    import { systemClock } from ${from("platform/clock/system-clock.ts")};
    import { systemRandom } from ${from("platform/clock/system-random.ts")};
    import { nodeDigest } from ${from("platform/digest/node-digest.ts")};
    import { SqliteStore } from ${from("platform/sqlite/sqlite-store.ts")};
    import { makeServerConfig } from ${from("server/server-config.ts")};
    import { startServer } from ${from("server/start-server.ts")};
    const dataDir = ${JSON.stringify(directory)};
    const quiet = () => undefined;
    const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
    const made = makeServerConfig([{ dataDir }], { version: "0.1.0", ownAddress: "127.0.0.1" });
    const consul = { ...made.consul, listen: { bind: "127.0.0.1", port: 0 }, listenIsGiven: true };
    const store = SqliteStore.open(dataDir + "/state.db");
    const adapters = { store, clock: systemClock, random: systemRandom, digest: nodeDigest, log };
    const config = { ...made, bind: "127.0.0.1", port: 0, consul };
    const server = await startServer(config, adapters, new AbortController().signal);
    await Bun.write(Bun.stdout, server.consul.port + "\\n");`;
}

interface Acknowledged {
  readonly value: string;
  readonly index: number;
}

test("no acknowledged write is lost, none is undone, and indexes go on", async () => {
  const directory = mkdtempSync(join(tmpdir(), "apollo-kill-"));
  const acknowledged = new Map<string, Acknowledged>();
  let lastIndex = 0;
  try {
    for (let round = 0; round < 2; round += 1) {
      const child = Bun.spawn([process.execPath, "-e", script(directory)], { stdout: "pipe", stderr: "inherit" });
      const first = await child.stdout.getReader().read();
      const base = `http://127.0.0.1:${new TextDecoder().decode(first.value).trim()}/v1`;
      const writers = Array.from({ length: 8 }, (_, writer) => write(base, `${round}/${writer}`, acknowledged));
      const wanted = acknowledged.size + 150;
      while (acknowledged.size < wanted) await systemClock.sleep(5);
      child.kill("SIGKILL");
      await child.exited;
      await Promise.all(writers);

      const store = SqliteStore.open(join(directory, "state.db"));
      const parts = await openRegistry({ store, clock: systemClock, random: systemRandom, digest: nodeDigest });
      const lost = [...acknowledged].filter(
        ([key, { value }]) => parts.registry.tables.get("kv", key)?.value !== btoa(value),
      );
      expect(lost).toEqual([]);
      const newest = Math.max(...[...acknowledged.values()].map(({ index }) => index));
      expect(newest).toBeGreaterThan(lastIndex);
      expect(parts.registry.index).toBeGreaterThan(newest);
      lastIndex = newest;
      parts.close();
      await store.close();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}, 60_000);

/** Writes keys one after another until the server is gone. */
async function write(base: string, name: string, acknowledged: Map<string, Acknowledged>): Promise<void> {
  for (let n = 0; ; n += 1) {
    const key = `w/${name}/${n}`;
    try {
      const answer = await fetch(`${base}/kv/${key}`, { method: "PUT", body: `v${n}` });
      if ((await answer.text()) !== "true") return;
      const row = await fetch(`${base}/kv/${key}`);
      acknowledged.set(key, { value: `v${n}`, index: Number(row.headers.get("x-consul-index")) });
    } catch {
      return;
    }
  }
}
