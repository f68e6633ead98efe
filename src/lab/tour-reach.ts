import { OUTSIDE_ADDRESS, OUTSIDE_NAME } from "./lab-plan.ts";
import { WEB_IMAGE } from "./images.ts";
import { addressesOf, srvTargetsOf } from "./dig.ts";
import type { DigAnswer } from "./dig.ts";
import { timed } from "./tour-report.ts";
import type { TourReport } from "./tour-report.ts";
import { APP_PORT, APP_V1, NETWORK, SERVICE, demand, readHello } from "./tour-world.ts";
import type { RunningInstance, TourWorld } from "./tour-world.ts";

const NAME = `${SERVICE}.service.consul`;
const PLAIN = "tour-plain";
/** Enough answers that rotation among a few addresses shows in all but a hopeless case. */
const ROUNDS = 12;

/** Step 4: every host and every container reaches every instance on its own address. */
export async function tourReach(world: TourWorld, report: TourReport): Promise<void> {
  report.title("4 · Reach");
  const instances = await world.settled(APP_V1, 2);
  await report.check("reach-from-hosts", async () => {
    const from = async (host: string): Promise<void> => {
      for (const instance of instances) await reach(world, instance, await helloFromHost(world, host, instance));
    };
    const { ms } = await timed(() => world.onEveryHost(from));
    return `${world.lab.hosts.length} hosts × ${instances.length} instances on port ${APP_PORT}, ${ms} ms`;
  });
  await report.check("reach-from-containers", async () => {
    const from = async (host: string): Promise<void> => {
      for (const instance of instances) {
        await reach(world, instance, await world.inProbe(host, ["wget", "-q", "-T", "5", "-O", "-", urlOf(instance)]));
      }
    };
    const { ms } = await timed(() => world.onEveryHost(from));
    return `${world.lab.hosts.length} containers × ${instances.length} instances, ${ms} ms`;
  });
  await report.check("no-host-port", async () => {
    for (const { host, id } of instances) {
      const container = (await containerOf(world, host, id)) ?? "none";
      const ports = (await world.lab.mustExec(host, ["docker", "port", container])).trim();
      demand(ports === "", () => `${host} publishes ${ports}`);
      const url = `http://${world.lab.node(host).address}:${APP_PORT}/`;
      const { code } = await world.lab.exec(host, ["curl", "-s", "-m", "2", url]);
      demand(code === 7, () => `port ${APP_PORT} of ${host} itself is not closed (curl exit code ${code})`);
    }
    return "nothing published, the hosts' own port is closed";
  });
}

export async function helloFromHost(world: TourWorld, host: string, instance: RunningInstance): Promise<string> {
  return world.lab.mustExec(host, ["curl", "-s", "-m", "5", urlOf(instance)]);
}

/** Demands that the one who answered is the one who was asked. */
export function reach(_world: TourWorld, instance: RunningInstance, answer: string): Promise<void> {
  const hello = readHello(answer);
  const same = hello.instance.startsWith(instance.id) && hello.host === instance.host;
  demand(same, () => `${instance.address} answers as ${hello.instance} on ${hello.host}, not ${instance.id}`);
  return Promise.resolve();
}

function urlOf(instance: RunningInstance): string {
  return `http://${instance.address}:${APP_PORT}/`;
}

/** Id of an instance's running container, or null. */
export async function containerOf(world: TourWorld, host: string, instance: string): Promise<string | null> {
  const argv = ["docker", "ps", "--quiet", "--filter", `label=apollo.instance=${instance}`];
  return (await world.lab.mustExec(host, argv)).trim().split("\n")[0] || null;
}

/** Step 5: names resolve the same everywhere. */
export async function tourDns(world: TourWorld, report: TourReport): Promise<void> {
  report.title("5 · DNS");
  const instances = await world.settled(APP_V1, 2);
  const wanted = instances.map((instance) => instance.address).toSorted();
  const fromEverywhere = async (
    ask: (question: { name: string; type: string }) => (host: string) => Promise<DigAnswer>,
    kind: string,
  ): Promise<string> => {
    const hosts = world.lab.hosts;
    for (const name of [NAME, `v1.${NAME}`]) {
      for (const host of hosts) same(wanted, await ask({ name, type: "A" })(host), `${name} ${kind} ${host}`);
    }
    for (const host of hosts)
      await checkSrv(wanted, await ask({ name: NAME, type: "SRV" })(host), (name) => ask({ name, type: "A" })(host));
    return `A, v1.… and SRV ${kind} ${hosts.length} hosts: ${wanted.join(" ")}`;
  };
  await report.check("dns-on-hosts", async () => {
    await world.dnsFollows(NAME, wanted);
    return fromEverywhere(
      ({ name, type }) =>
        (host) =>
          world.dig(host, name, type),
      "on",
    );
  });
  await report.check("dns-in-containers", () =>
    fromEverywhere(
      ({ name, type }) =>
        (host) =>
          world.digInContainer(host, name, type),
      "in containers on",
    ),
  );
  await report.check("dns-in-programs", async () => {
    await world.onEveryHost(async (host) => {
      readHello(await world.inProbe(host, ["wget", "-q", "-T", "5", "-O", "-", `http://${NAME}:${APP_PORT}/`]));
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
  await report.check("plain-docker-run", async () => {
    const { value, ms } = await timed(async () => {
      const env = ["--env", `SERVICE_NAME=${PLAIN}`, "--env", "SERVICE_TAGS=by-hand"];
      await world.lab.mustExec(host, [
        "docker",
        "run",
        "--detach",
        "--name",
        PLAIN,
        "--network",
        NETWORK,
        ...env,
        WEB_IMAGE,
      ]);
      const format = '{{(index .NetworkSettings.Networks "apollo").IPAddress}}';
      const address = (await world.lab.mustExec(host, ["docker", "inspect", "--format", format, PLAIN])).trim();
      await world.dnsFollows(name, [address]);
      return address;
    });
    await world.dnsFollows(`by-hand.${name}`, [value]);
    await world.lab.mustExec(host, ["docker", "rm", "--force", PLAIN]);
    const gone = await timed(() => world.dnsFollows(name, []));
    return `${value} of ${host} on every host after ${ms} ms, gone after ${gone.ms} ms`;
  });
}

/** Step 6: every host's HAProxy leads to the instances of the service that the Host header names. */
export async function tourIngress(world: TourWorld, report: TourReport): Promise<void> {
  report.title("6 · Ingress");
  const count = 2;
  await report.check("ingress-on-hosts", async () => {
    const { ms } = await timed(() =>
      world.onEveryHost((host) =>
        world.wait(`HAProxy of ${host} to lead to ${count} instances`, 15_000, async () => {
          const hellos = await world.answeredBy(host, 8);
          return new Set(hellos.map((hello) => hello.instance)).size === count;
        }),
      ),
    );
    return `${world.lab.hosts.length} hosts lead to ${count} instances, ${ms} ms`;
  });
  await report.check("ingress-unknown-name", async () => {
    const answers = await world.onEveryHost((host) => world.viaIngress(host, "tour-none.example.com"));
    demand(
      answers.every(({ status }) => status === 503 || status === 404),
      () => answers.map(({ status }) => status).join(" "),
    );
    return `${answers.map(({ status }) => status).join(" ")} for a name that leads nowhere`;
  });
  await report.check("ingress-from-machine", async () => {
    const urls = world.lab.hosts.map((host) => `http://127.0.0.1:${world.lab.localPort(host, 80)}/`);
    for (const url of urls) {
      const response = await fetch(url, {
        headers: { Host: `${SERVICE}.example.com` },
        signal: AbortSignal.timeout(5000),
      });
      readHello(await response.text());
    }
    return urls.join(" ");
  });
}
