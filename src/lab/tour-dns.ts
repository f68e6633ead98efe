import { addressesOf, srvTargetsOf } from "./dig.ts";
import type { DigAnswer } from "./dig.ts";
import { WEB_IMAGE } from "./images.ts";
import { OUTSIDE_ADDRESS, OUTSIDE_NAME } from "./lab-plan.ts";
import { timed } from "./tour-report.ts";
import type { TourReport } from "./tour-report.ts";
import { APP_PORT, APP_V1, NETWORK, SERVICE, demand, readHello } from "./tour-world.ts";
import type { TourWorld } from "./tour-world.ts";

const NAME = `${SERVICE}.service.consul`;
const PLAIN = "tour-plain";
/** Enough answers that rotation among a few addresses shows in all but a hopeless case. */
const ROUNDS = 12;

/** Step 5: names resolve the same everywhere. */
export async function tourDns(world: TourWorld, report: TourReport): Promise<void> {
  report.title("5 · DNS");
  const instances = await world.settled(APP_V1, 2);
  const wanted = instances.map((instance) => instance.address).toSorted();
  await report.check("dns-on-hosts", async () => {
    await world.dnsFollows(NAME, wanted);
    return digEverywhere(world.lab.hosts, wanted, { where: "on", dig: world.dig.bind(world) });
  });
  await report.check("dns-in-containers", () =>
    digEverywhere(world.lab.hosts, wanted, { where: "in containers on", dig: world.digInContainer.bind(world) }),
  );
  await report.check("dns-in-programs", async () => {
    await world.onEveryHost(async (host) => {
      readHello(await world.inProbe(host, ["wget", "-q", "-O", "-", `http://${NAME}:${APP_PORT}/`]));
      readHello(await world.lab.mustExec(host, ["curl", "-s", "-m", "5", `http://${NAME}:${APP_PORT}/`]));
    });
    return "wget in containers and curl on hosts find it by name";
  });
  await report.check("dns-rotates", async () => {
    const firsts = await world.onEveryHost(async (host) => {
      const seen = new Set<string | undefined>();
      for (let round = 0; round < ROUNDS; round += 1) seen.add(addressesOf(await world.dig(host, NAME, "A"))[0]);
      return seen.size;
    });
    demand(
      firsts.every((count) => count === wanted.length),
      () => `first addresses seen in ${ROUNDS} answers: ${firsts.join(" ")}`,
    );
    return `each of ${wanted.length} addresses came first within ${ROUNDS} answers`;
  });
  await report.check("dns-ports", async () => {
    await world.onEveryHost(async (host) => {
      same(wanted, await world.dig(host, NAME, "A", ["@127.0.0.1", "-p", "8600"]), `port 8600 of ${host}`);
      same(wanted, await world.dig(host, NAME, "A", ["+tcp"]), `TCP on ${host}`);
    });
    return "port 8600 and TCP answer the same";
  });
  await report.check("dns-outside", async () => {
    await world.onEveryHost(async (host) => {
      for (const answer of [
        await world.dig(host, OUTSIDE_NAME, "A"),
        await world.digInContainer(host, OUTSIDE_NAME, "A"),
      ]) {
        same([OUTSIDE_ADDRESS], answer, `${OUTSIDE_NAME} on ${host}`);
      }
      const { status } = await world.dig(host, `tour-none.service.consul`, "A");
      demand(status === "NXDOMAIN", () => `an unknown service is answered with ${status} on ${host}`);
      await world.inProbe(host, ["ping", "-c", "1", "-W", "2", OUTSIDE_ADDRESS]);
    });
    return `${OUTSIDE_NAME} is ${OUTSIDE_ADDRESS} on hosts and in containers, and reachable; unknown names are NXDOMAIN`;
  });
  await tourPlain(world, report);
}

interface Asking {
  /** Before "3 hosts". */
  readonly where: string;
  readonly dig: (host: string, name: string, type: string) => Promise<DigAnswer>;
}

async function digEverywhere(
  hosts: readonly string[],
  wanted: readonly string[],
  { where, dig }: Asking,
): Promise<string> {
  for (const name of [NAME, `v1.${NAME}`]) {
    for (const host of hosts) same(wanted, await dig(host, name, "A"), `${name} ${where} ${host}`);
  }
  for (const host of hosts) await checkSrv(wanted, await dig(host, NAME, "SRV"), (name) => dig(host, name, "A"));
  return `A, v1.… and SRV ${where} ${hosts.length} hosts: ${wanted.join(" ")}`;
}

function same(wanted: readonly string[], answer: DigAnswer, what: string): void {
  const found = addressesOf(answer).toSorted();
  demand(found.join(" ") === wanted.join(" "), () => `${what}: [${found.join(" ")}] instead of [${wanted.join(" ")}]`);
}

/** Every SRV record's target must lead to an address of its own; together they are the instances. */
async function checkSrv(
  wanted: readonly string[],
  answer: DigAnswer,
  ask: (name: string) => Promise<DigAnswer>,
): Promise<void> {
  const targets = srvTargetsOf(answer);
  demand(
    targets.every(({ port }) => port === APP_PORT),
    () => `SRV has ports ${targets.map(({ port }) => port).join(" ")}`,
  );
  const pairs = await Promise.all(
    targets.map(async ({ target }) => {
      const beside = answer.additional.filter((record) => record.name === target && record.type === "A");
      const asked = addressesOf(await ask(target.replace(/\.$/, "")));
      demand(
        asked.length === 1 && beside.every((record) => record.data === asked[0]),
        () => `${target} is [${asked.join(" ")}]`,
      );
      return asked[0] ?? "";
    }),
  );
  demand(pairs.toSorted().join(" ") === wanted.join(" "), () => `SRV targets are [${pairs.join(" ")}]`);
}

/** A container that somebody starts by hand with registrator's variables is in the catalog, too. */
async function tourPlain(world: TourWorld, report: TourReport): Promise<void> {
  const host = world.lab.hosts.at(-1) ?? "";
  const name = `${PLAIN}.service.consul`;
  const start = ["docker", "run", "--detach", "--name", PLAIN, "--network", NETWORK];
  const format = '{{(index .NetworkSettings.Networks "apollo").IPAddress}}';
  await report.check("plain-docker-run", async () => {
    try {
      const env = ["--env", `SERVICE_NAME=${PLAIN}`, "--env", "SERVICE_TAGS=by-hand"];
      await world.lab.mustExec(host, [...start, ...env, WEB_IMAGE]);
      const address = (await world.lab.mustExec(host, ["docker", "inspect", "--format", format, PLAIN])).trim();
      const known = await timed(() => world.dnsFollows(name, [address]));
      await world.dnsFollows(`by-hand.${name}`, [address]);
      await world.lab.mustExec(host, ["docker", "rm", "--force", PLAIN]);
      const gone = await timed(() => world.dnsFollows(name, []));
      return `${address} of ${host} on every host after ${known.ms} ms, gone after ${gone.ms} ms`;
    } finally {
      // Already gone is fine: then this says so and changes nothing.
      await world.lab.exec(host, ["docker", "rm", "--force", PLAIN]);
    }
  });
}
