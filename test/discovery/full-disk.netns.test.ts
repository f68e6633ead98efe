/** A node whose disk is full: it refuses changes with a reason, goes on answering, and takes changes again. Needs root. */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { basename, join } from "node:path";
import { freePorts, until, withDirectory } from "./node.fixture.ts";

const INSIDE = join(import.meta.dir, "full-disk.inside.ts");

type Ask = (method: string, path: string, body?: string) => Promise<Response>;

/** What SQLite has allocated already may take a few more. */
async function refusalOf(ask: Ask): Promise<Response> {
  const refused: Response[] = [];
  await until("a refusal", async () => {
    const answer = await ask("PUT", `kv/during/${performance.now()}`, "x".repeat(100_000));
    if (answer.status !== 200) refused.push(answer);
    return refused.length > 0;
  });
  const [first] = refused;
  if (first === undefined) throw new Error("Nothing was refused");
  return first;
}

test(
  "a full disk is an error that says so, and nothing is lost or half done",
  () =>
    withDirectory(async (directory) => {
      const ports = await freePorts();
      const flags = ["--server", "--bootstrap", "--node", "s1", "--cluster-port", String(ports.cluster)];
      const more = ["--http-port", String(ports.http), "--dns-port", String(ports.dns)];
      const argv = ["unshare", "--mount", process.execPath, INSIDE, directory, ...flags, ...more];
      const said = join(directory, "..", `${basename(directory)}.log`);
      const child = Bun.spawn(argv, {
        stdin: "pipe",
        stdout: "pipe",
        stderr: Bun.file(said),
        env: { ...process.env, TMPDIR: directory },
      });
      const words = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      const tell = async (word: string): Promise<void> => {
        void child.stdin.write(`${word}\n`);
        await child.stdin.flush();
        expect((await words.read()).value?.trim()).toBe(`done ${word}`);
      };
      const ask: Ask = async (method, path, body) => {
        const init = body === undefined ? { method } : { method, body };
        return fetch(`http://127.0.0.1:${ports.http}/v1/${path}`, init);
      };
      try {
        await until("the node to be up", async () => (await ask("PUT", "kv/before", "kept")).status === 200);
        const check = JSON.stringify({ Name: "web", Check: { TTL: "2s", Status: "passing" } });
        expect((await ask("PUT", "agent/service/register", check)).status).toBe(200);
        await tell("fill");
        const refusal = await refusalOf(ask);
        expect(refusal.status).toBeGreaterThanOrEqual(500);
        expect(await refusal.text()).toMatch(/full|space/i);
        expect(await (await ask("GET", "kv/before?raw")).text()).toBe("kept");
        await tell("free");
        await until("a change to be taken", async () => (await ask("PUT", "kv/after", "taken")).status === 200);
        expect(await (await ask("GET", "kv/after?raw")).text()).toBe("taken");
        // Its TTL ran out meanwhile: that could not be stored then, and is now.
        await until("the TTL to have run out", async () =>
          (await (await ask("GET", "health/checks/web")).text()).includes('"critical"'),
        );
        expect(child.exitCode).toBeNull();
        // Its end, too, is none of a failure.
        await tell("fill");
        await refusalOf(ask);
        await tell("end");
        expect(await child.exited).toBe(0);
      } catch (error) {
        console.error(await Bun.file(said).text());
        throw error;
      } finally {
        rmSync(said);
        child.kill("SIGTERM");
        await child.exited;
      }
    }),
  60_000,
);
