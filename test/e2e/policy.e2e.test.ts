import { beforeAll, expect, test } from "bun:test";
import { z } from "zod";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import { endDaemonOf, startDaemonOf } from "../../src/lab/lab-control.ts";
import { timed } from "../../src/lab/tour-report.ts";
import { NETWORK } from "../../src/lab/tour-world.ts";
import type { TourWorld } from "../../src/lab/tour-world.ts";
import { clusterUp, deploy, eventually, webApp } from "./cluster.fixture.ts";
import { testLab } from "./test-lab.fixture.ts";

const name = testLab("pol");
let world: TourWorld;
const addresses = new Map<string, string>();

/** A web server in no catalog, known by its label alone. */
async function startBox(host: string, box: string, role: string): Promise<void> {
  const argv = ["docker", "run", "--detach", "--name", box, "--network", NETWORK, "--label", `role=${role}`];
  await world.lab.mustExec(host, [...argv, "--env", "SERVICE_IGNORE=1", WEB_IMAGE], { timeoutMs: 60_000 });
  const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
  addresses.set(box, (await world.lab.mustExec(host, ["docker", "inspect", "--format", format, box])).trim());
}

type Box = readonly [host: string, name: string];

/** From the network of a container, with the host's curl: busybox's wget knows no deadline. */
async function answersWithin(seconds: number, [host, box]: Box, address: string): Promise<boolean> {
  const { lab } = world;
  const pid = (await lab.mustExec(host, ["docker", "inspect", "--format", "{{.State.Pid}}", box])).trim();
  const argv = ["nsenter", "--target", pid, "--net", "--", "curl", "-s", "-m", String(seconds), `http://${address}/`];
  return (await lab.exec(host, argv)).stdout === "ok\n";
}

/** Waits with patience: a busy machine may take seconds for what is allowed. */
function reaches(host: string, box: string, address: string): Promise<boolean> {
  return answersWithin(15, [host, box], address);
}

/** What is refused is dropped: nothing is said to it. */
async function isShutOut(host: string, box: string, address: string): Promise<boolean> {
  return !(await answersWithin(1, [host, box], address));
}

function addressOf(box: string): string {
  return addresses.get(box) ?? "none";
}

beforeAll(async () => {
  world = await clusterUp(name, 2);
  await startBox("h1", "db", "db");
  await startBox("h2", "front", "front");
  await startBox("h2", "eve", "other");
});

test("a rule by label closes a container without ports, on another host, to all but those with the label", async () => {
  expect(await reaches("h2", "eve", addressOf("db"))).toBe(true);
  await world.client.cli([
    "policy",
    "put",
    "db",
    "--from",
    "label.role=front",
    "--to",
    "label.role=db",
    "--port",
    "80",
  ]);
  await eventually("eve to be shut out", () => isShutOut("h2", "eve", addressOf("db")));
  expect(await reaches("h2", "front", addressOf("db"))).toBe(true);
  // Nobody else is closed.
  expect(await reaches("h1", "db", addressOf("eve"))).toBe(true);
});

test("apollo net why says which rule refuses, where, and what would allow it; the line it gives does", async () => {
  const allowed = z.object({ cases: z.array(z.object({ reason: z.string(), by: z.string(), host: z.string() })) });
  expect(await world.client.cliJson(allowed, ["net", "why", "front", "db:80"])).toMatchObject({
    cases: [{ reason: "rule", by: "db", host: "h1" }],
  });
  const { code } = await world.client.cliFailure(["net", "why", "eve", "db:80"]);
  expect(code).toBe(1);
  const shown = z.object({ refused: z.array(z.object({ host: z.string(), packets: z.number() })) });
  // The kernel's counters begin anew with each change of the rules, so what was refused a moment ago may be gone.
  await eventually("a refusal to be counted", async () => {
    expect(await isShutOut("h2", "eve", addressOf("db"))).toBe(true);
    const { refused } = await world.client.cliJson(shown, ["policy", "show", "db"]);
    return (refused.find(({ host }) => host === "h1")?.packets ?? 0) > 0;
  });
  const question = { kind: "policy-why", from: "eve", to: "db", port: 80 };
  const { body } = await world.client.request("POST", "/api/hosts/h2/query", { body: question });
  const { cure } = z.object({ cure: z.string() }).parse(body);
  await world.client.cli(cure.split(" ").slice(1));
  await eventually("eve to be let in", () => reaches("h2", "eve", addressOf("db")));
  await world.client.cli(["policy", "delete", cure.split(" ")[3] ?? "none"]);
  await eventually("eve to be shut out again", () => isShutOut("h2", "eve", addressOf("db")));
});

test("an agent that ends and starts again lets nobody in meanwhile", async () => {
  const stop = new AbortController();
  const let_in: string[] = [];
  const trying = (async () => {
    while (!stop.signal.aborted) if (!(await isShutOut("h2", "eve", addressOf("db")))) let_in.push("eve");
  })();
  await endDaemonOf(name, "h1", "apollo", "SIGTERM");
  await startDaemonOf(name, "h1");
  await eventually("h1's agent to answer", async () => {
    const { status } = await world.client.request("POST", "/api/hosts/h1/query", { body: { kind: "policy-counters" } });
    return status === 200;
  });
  expect(await reaches("h2", "front", addressOf("db"))).toBe(true);
  stop.abort();
  await trying;
  expect(let_in).toEqual([]);
});

test("in a closed network a new container has its rights when it needs them, and health checks go on", async () => {
  const [web] = await deploy(world, webApp("shop"));
  await world.client.cli(["policy", "put", "shop", "--from", "label.role=front", "--to", "app=shop"]);
  await world.client.cli(["policy", "default", "deny"]);
  await eventually("eve to be shut out", () => isShutOut("h2", "eve", web?.address ?? "none"));
  for (const round of [1, 2, 3]) {
    await startBox("h2", `new${round}`, "front");
    // A first packet that comes too early is dropped, and TCP sends it again after a second.
    const { ms } = await timed(async () => {
      expect(await reaches("h2", `new${round}`, web?.address ?? "none")).toBe(true);
    });
    console.log(`A new container is let in on another host, or its own, ${ms} ms after "docker run" came back`);
  }
  expect((await world.settled("shop", 1))[0]?.id).toBe(web?.id ?? "none");
  await world.client.cli(["policy", "default", "open"]);
});
