/**
 * HAProxy itself, in a network and PID namespace of its own: this file starts itself again in there, so port 80 is
 * free, and whatever a failing test leaves behind ends with the namespace.
 */
import { expect, test } from "bun:test";

const INSIDE = "APOLLO_TEST_INSIDE_NETNS";

if (process.env[INSIDE] === undefined) {
  test("HaproxyProxy in its own namespace", async () => {
    const unshare = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"];
    const child = Bun.spawn([...unshare, process.execPath, "test", import.meta.path], {
      env: { ...process.env, [INSIDE]: "1" },
      stdin: "ignore",
      stdout: "inherit",
      stderr: "inherit",
    });
    expect(await child.exited).toBe(0);
  }, 120_000);
} else {
  await import("./haproxy-proxy.netns.inside.ts");
}
