import { afterAll, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { describeError } from "../../src/model/error.ts";
import { downLab, listLabTraces } from "../../src/lab/down-lab.ts";
import { startForward } from "../../src/lab/forward.ts";
import { WEB_IMAGE, publishWebImage } from "../../src/lab/images.ts";
import { labPaths } from "../../src/lab/lab-paths.ts";
import { namespaceOf } from "../../src/lab/lab-plan.ts";
import { processOf } from "../../src/lab/lab-state.ts";
import { labStatus } from "../../src/lab/lab-status.ts";
import { cutLink, endDaemonOf, healLink, startHost, stopHost } from "../../src/lab/lab-control.ts";
import { openLab, upLab } from "../../src/lab/lab.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { listMarked } from "../../src/lab/process-table.ts";
import { mustRun } from "../../src/lab/run-command.ts";
import { waitFor } from "../../src/lab/wait-for.ts";
import { LAB_UP_PROGRAM } from "./lab-up.fixture.ts";

const LAB_TIMEOUT_MS = 120_000;
const suffix = crypto.randomUUID().slice(0, 6);
const first = `t1-${suffix}`;
const second = `t2-${suffix}`;

afterAll(async () => {
  for (const name of [first, second, `t3-${suffix}`, `t4-${suffix}`]) await downLab(name);
});

function failureOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => "no failure", describeError);
}

/** Everything of a lab that can be left on the machine; empty when nothing is. */
async function remains(name: string): Promise<readonly string[]> {
  const prefix = namespaceOf(name, "");
  const networks = (await mustRun(["ip", "netns", "list"])).split("\n").filter((line) => line.startsWith(prefix));
  const mounts = (await mustRun(["mount"])).split("\n").filter((line) => line.includes(labPaths(name).dir));
  const cgroups = readdirSync("/sys/fs/cgroup").flatMap((controller) => {
    const dir = `/sys/fs/cgroup/${controller}`;
    return existsSync(`${dir}/cgroup.procs`) ? readdirSync(dir).filter((entry) => entry.startsWith(prefix)) : [];
  });
  const processes = listMarked(name).map(({ pid, node }) => `process ${pid} of ${node}`);
  const dirs = existsSync(labPaths(name).dir) ? [labPaths(name).dir] : [];
  return [...networks, ...mounts, ...cgroups, ...processes, ...dirs];
}

async function ping(lab: Lab, from: string, to: string): Promise<boolean> {
  const { code } = await lab.exec(from, ["ping", "-c1", "-W1", "-q", lab.node(to).address]);
  return code === 0;
}

async function runWeb(lab: Lab, host: string): Promise<string> {
  const argv = ["docker", "run", "--detach", "--publish", "8080:80", "--restart", "unless-stopped", WEB_IMAGE];
  return (await lab.mustExec(host, argv, { timeoutMs: 60_000 })).trim();
}

function answers(lab: Lab, from: string, to: string): Promise<true> {
  const url = `http://${lab.node(to).address}:8080/`;
  return waitFor(async () => (await lab.exec(from, ["curl", "-sf", "-m", "2", url])).stdout === "ok\n", {
    what: `${url} to answer ${from}`,
    timeoutMs: 20_000,
  });
}

test(
  "upLab() gives hosts that pull from the registry, run containers, and go off and on",
  async () => {
    const interfaces = await mustRun(["ip", "-o", "link"]);
    const lab = await upLab({ name: first, hosts: 3, parts: "engines" });
    expect(lab.hosts).toEqual(["h1", "h2", "h3"]);
    const again = upLab({ name: first, hosts: 1, parts: "engines" });
    expect(await failureOf(again)).toContain("a lab of that name is there");
    expect(await mustRun(["ip", "-o", "link"])).toBe(interfaces);

    await publishWebImage(first, "h1");
    const [one] = await Promise.all([runWeb(lab, "h1"), runWeb(lab, "h3")]);
    // Different engines: each knows only its own container.
    expect((await lab.mustExec("h1", ["docker", "ps", "--quiet", "--no-trunc"])).trim()).toBe(one);
    for (const from of ["s1", "h2", "h3"]) await answers(lab, from, "h1");
    for (const from of ["s1", "h1", "h2"]) await answers(lab, from, "h3");
    const asked = ["docker", "exec", one, "nslookup", "outside.test"];
    expect((await lab.exec("h1", asked)).stdout).toContain("203.0.113.7");
    expect((await lab.exec("h1", ["docker", "exec", one, "ping", "-c1", "-W2", "203.0.113.7"])).code).toBe(0);

    const [gate, fabric] = [processOf(first, "gate"), processOf(first, "fabric")];
    const { localPort } = await startForward(first, { gate, fabric }, { node: lab.node("h3"), port: 8080 });
    const response = await fetch(`http://127.0.0.1:${localPort}/`, { signal: AbortSignal.timeout(5000) });
    expect(await response.text()).toBe("ok\n");

    await lab.mustExec("h1", ["touch", "/root/kept", "/tmp/lost"]);
    await stopHost(first, "h1");
    expect(await ping(lab, "h2", "h1")).toBe(false);
    expect(await failureOf(lab.exec("h1", ["true"]))).toContain("not running");
    expect((await labStatus(first)).nodes.filter((node) => !node.on).map((node) => node.name)).toEqual(["h1"]);
    await startHost(first, "h1");
    expect((await lab.exec("h1", ["ls", "/root/kept"])).code).toBe(0);
    expect((await lab.exec("h1", ["ls", "/tmp/lost"])).code).not.toBe(0);
    // The engine restarts what it ran before the power went.
    await answers(lab, "h2", "h1");

    expect(await endDaemonOf(first, "h1", "dockerd", "SIGTERM")).toBe(1);
    await lab.down();
    expect(await remains(first)).toEqual([]);
  },
  LAB_TIMEOUT_MS,
);

test(
  "cutLink() cuts within a segment and across the router, one way or both; crashes leave nothing that downLab() misses",
  async () => {
    const lab = await upLab({ name: second, hosts: 3, parts: "engines" });
    for (const [from, to] of [
      ["h1", "h2"],
      ["h1", "h3"],
    ] as const) {
      expect(await ping(lab, from, to)).toBe(true);
      await cutLink(second, { from, to });
      expect(await ping(lab, from, to)).toBe(false);
      await healLink(second, { from, to });
      expect(await ping(lab, to, from)).toBe(true);
    }
    await cutLink(second, { from: "h2", to: "h3", oneWay: true });
    expect((await labStatus(second)).cuts).toEqual(["h2>h3"]);
    // Answers come the other way, so a ping fails in both; what h3 sends still arrives.
    expect(await ping(lab, "h2", "h3")).toBe(false);
    expect(await ping(lab, "h1", "h3")).toBe(true);

    await publishWebImage(second, "h1");
    await runWeb(lab, "h2");
    for (const { pid } of listMarked(second)) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        // Ending one process of a namespace's first ends others of the list.
        expect(describeError(error)).toContain("ESRCH");
      }
    }
    const dead = (): Promise<boolean> => Promise.resolve(listMarked(second).length === 0);
    await waitFor(dead, { what: "the killed processes to be gone", timeoutMs: 20_000 });
    expect(await listLabTraces()).toContain(second);
    expect((await labStatus(second)).phase).toBe("broken");
    expect(await failureOf(openLab(second).exec("h1", ["true"]))).toContain("not running");
    await downLab(second);
    await downLab(second);
    expect(await remains(second)).toEqual([]);
  },
  LAB_TIMEOUT_MS,
);

test(
  "upLab() that is interrupted removes what it made",
  async () => {
    const stop = new AbortController();
    const name = `t3-${suffix}`;
    const interrupt = (text: string): void => {
      if (text.includes("engine")) stop.abort();
    };
    const up = upLab({ name, hosts: 2, parts: "engines", signal: stop.signal, onProgress: interrupt });
    expect(await failureOf(up)).not.toBe("no failure");
    expect(await remains(name)).toEqual([]);
  },
  LAB_TIMEOUT_MS,
);

test(
  "downLab() removes what an upLab() that was killed had made, at whatever step",
  async () => {
    for (const step of ["fabric", "engine", "up"]) {
      const name = `t4-${suffix}`;
      const child = spawn(process.execPath, [LAB_UP_PROGRAM, name], { stdio: ["ignore", "pipe", "inherit"] });
      await new Promise<void>((resolve) => {
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
          if (text.split("\n").some((line) => line.includes(step))) child.kill("SIGKILL");
        });
        child.on("close", () => resolve());
      });
      expect(await listLabTraces()).toContain(name);
      await downLab(name);
      expect(await remains(name)).toEqual([]);
    }
  },
  LAB_TIMEOUT_MS,
);
