import { EXAMPLE_V1, createApp } from "./tour-deploy.ts";
import { containerOf } from "./tour-reach.ts";
import { timed } from "./tour-report.ts";
import type { TourReport } from "./tour-report.ts";
import { awaitFollowed } from "./tour-traffic.ts";
import { APP_PORT, APP_V1, SERVICE, readHello } from "./tour-world.ts";
import type { RunningInstance, TourWorld } from "./tour-world.ts";

const NAME = `${SERVICE}.service.consul`;
const SICK_APP = "tour-sick";
/** Out of every host's DNS after this long at most, once the cluster can know. */
const OUT_TIMEOUT_MS = 5000;

/** Step 8: what dies is replaced, and nobody is led to it in the meantime. */
export async function tourFailure(world: TourWorld, report: TourReport): Promise<void> {
  report.title("8 · Failure");
  await report.check("instance-killed", async () => {
    const [victim] = await world.settled(APP_V1, 3);
    if (victim === undefined) throw new Error("Three instances have a first one");
    const before = await runOf(world, victim);
    await world.lab.mustExec(victim.host, ["docker", "kill", before?.container ?? "none"]);
    const out = await timed(() => world.dnsWithout(NAME, victim.address, OUT_TIMEOUT_MS));
    const hellos = (await world.onEveryHost((host) => world.answeredBy(host, 10))).flat();
    const replaced = await timed(() =>
      world.wait("the killed instance's replacement", 60_000, async () => {
        const runs = await Promise.all((await world.settled(APP_V1, 3)).map((each) => runOf(world, each)));
        return runs.every((run) => run !== null && run.startedAt !== before?.startedAt);
      }),
    );
    await awaitFollowed(world, await world.settled(APP_V1, 3));
    return `out of DNS on every host in ${out.ms} ms, ${hellos.length} requests answered without it, replaced ${replaced.ms} ms later`;
  });
  await report.check("instance-sick", async () => {
    const done = await Promise.allSettled([tourSick(world)]);
    // In any case: what is left of it would fail the checks of the last step as well. Its own failure is the one to tell.
    const removed = await Promise.allSettled([removeSick(world)]);
    const failed = [...done, ...removed].find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    return done[0].status === "fulfilled" ? done[0].value : "";
  });
}

async function removeSick(world: TourWorld): Promise<void> {
  await world.client.cli(["app", "destroy", SICK_APP]);
  await world.wait(`${SICK_APP} to be gone`, 60_000, async () => (await world.instances(SICK_APP)).length === 0);
}

/** The container an instance runs in now: a restart in place keeps the container and changes its start. */
async function runOf(
  world: TourWorld,
  { host, id }: RunningInstance,
): Promise<{ readonly container: string; readonly startedAt: string } | null> {
  const container = await containerOf(world, host, id);
  if (container === null) return null;
  const argv = ["docker", "inspect", "--format", "{{.State.StartedAt}}", container];
  return { container, startedAt: (await world.lab.mustExec(host, argv)).trim() };
}

/** The example again, with a quick check, so that the tour need not wait for the half minute of 2015's definition. */
async function tourSick(world: TourWorld): Promise<string> {
  const [check] = EXAMPLE_V1.healthChecks;
  const { lab } = world;
  await createApp(world, {
    ...EXAMPLE_V1,
    id: SICK_APP,
    env: { SERVICE_NAME: SICK_APP, SERVICE_TAGS: "v1" },
    healthChecks: [{ ...check, intervalSeconds: 1, timeoutSeconds: 1, maxConsecutiveFailures: 3 }],
  } as typeof EXAMPLE_V1);
  const name = `${SICK_APP}.service.consul`;
  const [victim, other] = await world.settled(SICK_APP, 2);
  if (victim === undefined || other === undefined) throw new Error("Two instances are two");
  await world.dnsFollows(name, [victim.address, other.address]);
  const url = `http://${victim.address}:${APP_PORT}/sick`;
  await lab.mustExec(victim.host, ["curl", "-sf", "-m", "5", "-X", "POST", url]);
  const out = await timed(() => world.dnsWithout(name, victim.address, OUT_TIMEOUT_MS));
  const hosts = await world.onEveryHost((host) =>
    world.wait(`HAProxy of ${host} to leave out the sick instance`, OUT_TIMEOUT_MS, async () => {
      const answers = [];
      for (let round = 0; round < 6; round += 1) answers.push(await world.viaIngress(host, `${SICK_APP}.example.com`));
      return answers.every(({ status, body }) => status === 200 && !readHello(body).instance.startsWith(victim.id));
    }),
  );
  const replaced = await timed(() =>
    world.wait("the sick instance's replacement", 60_000, async () => {
      const now = await world.settled(SICK_APP, 2);
      return now.every((each) => each.id !== victim.id);
    }),
  );
  return `out of DNS on ${hosts.length} hosts in ${out.ms} ms, and of HAProxy; replaced ${replaced.ms} ms later`;
}
