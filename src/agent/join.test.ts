import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { JoinClient } from "../platform/ports/join-client.ts";
import { systemClock } from "../platform/clock/system-clock.ts";
import { MemoryFile } from "../sim/memory-file.ts";
import { joinCluster, readMembership } from "./join.ts";
import type { JoinWish } from "./join.ts";

const FINGERPRINT = "f".repeat(43);
const WISH: JoinWish = {
  serverUrl: "https://10.0.0.1:8443",
  token: `apollo1.${FINGERPRINT}.${"s".repeat(32)}`,
  name: "alpha",
  address: parseIpv4("10.0.0.7"),
  labels: {},
  resources: { cpus: 2, memoryMiB: 1, diskMiB: 1 },
  hostRanges: ["10.0.0.0/24"],
};

function client(fingerprint: string, answer: unknown): JoinClient & { readonly posts: unknown[] } {
  const posts: unknown[] = [];
  return {
    posts,
    fetchCa: () => Promise.resolve({ pem: "PEM", fingerprint }),
    post: (request) => {
      posts.push(request);
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
  };
}

function file(): MemoryFile {
  return new MemoryFile("/data/agent.json", systemClock);
}

test("a join over the right server is kept, and the next start finds it", async () => {
  const kept = file();
  const server = client(FINGERPRINT, { hostId: "h1", credential: "c1", block: "10.2.1.0/24" });
  const membership = await joinCluster(WISH, server, kept);
  expect(membership).toEqual({
    hostId: "h1",
    name: "alpha",
    credential: "c1",
    caPem: "PEM",
    serverUrls: ["https://10.0.0.1:8443"],
  });
  expect(await readMembership(kept)).toEqual(membership);
  expect(server.posts).toMatchObject([
    { path: "/api/join", bearer: "s".repeat(32), caPem: "PEM", body: { name: "alpha", credential: null } },
  ]);
  const again = client(FINGERPRINT, { hostId: "h1", credential: "c2", block: "10.2.1.0/24" });
  await joinCluster(WISH, again, kept);
  expect(again.posts).toMatchObject([{ body: { credential: "c1" } }]);
});

test("another server than the token's is told nothing", async () => {
  const kept = file();
  const server = client("x".repeat(43), { hostId: "h1", credential: "c1" });
  const error = await joinCluster(WISH, server, kept).catch((thrown: unknown) => thrown);
  expect((error as AppError).code).toBe("denied");
  expect(server.posts).toEqual([]);
  expect(kept.text).toBeNull();
});

test("a refusal is passed on and leaves nothing behind", async () => {
  const kept = file();
  const clash = new AppError("conflict", "Cannot join: the range clashes");
  expect(await joinCluster(WISH, client(FINGERPRINT, clash), kept).catch((thrown: unknown) => thrown)).toBe(clash);
  const odd = await joinCluster(WISH, client(FINGERPRINT, { nothing: true }), kept).catch((thrown: unknown) => thrown);
  expect((odd as AppError).code).toBe("unavailable");
  const bad = await joinCluster({ ...WISH, token: "apollo1.x" }, client(FINGERPRINT, {}), kept).catch(
    (thrown: unknown) => thrown,
  );
  expect((bad as AppError).code).toBe("invalid");
  expect(await readMembership(kept)).toBeNull();
});

test("a disk that takes no file refuses the join before the server hears of it, and the next try is as the first", async () => {
  const kept = file();
  kept.full = true;
  const server = client(FINGERPRINT, { hostId: "h1", credential: "c1" });
  const error = await joinCluster(WISH, server, kept).catch((thrown: unknown) => thrown);
  expect((error as AppError).message).toBe('Cannot write "/data/agent.json": no space left on device');
  expect(server.posts).toEqual([]);
  kept.full = false;
  await joinCluster(WISH, server, kept);
  expect(await readMembership(kept)).toMatchObject({ hostId: "h1", credential: "c1" });
  // A machine that was removed keeps what proves its name while it joins anew.
  const refused = client(FINGERPRINT, new AppError("denied", "Cannot join: the token is old"));
  await joinCluster(WISH, refused, kept).catch(() => null);
  expect(await readMembership(kept)).toMatchObject({ credential: "c1" });
});

test("a file that no join wrote is refused by name", async () => {
  const kept = file();
  kept.text = '{"hostId":"h1"}';
  const error = await readMembership(kept).catch((thrown: unknown) => thrown);
  expect((error as AppError).message).toContain("/data/agent.json");
});
