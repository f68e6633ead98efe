import { timed } from "./tour-report.ts";
import type { TourReport } from "./tour-report.ts";
import { APP_PORT, APP_V1, SERVICE, demand, readHello } from "./tour-world.ts";
import type { RunningInstance, TourWorld } from "./tour-world.ts";

/** Step 4: every host and every container reaches every instance on its own address. */
export async function tourReach(world: TourWorld, report: TourReport): Promise<void> {
  report.title("4 · Reach");
  const instances = await world.settled(APP_V1, 2);
  await report.check("reach-from-hosts", async () => {
    const from = async (host: string): Promise<void> => {
      for (const instance of instances) demandAnswerOf(instance, await helloFromHost(world, host, instance));
    };
    const { ms } = await timed(() => world.onEveryHost(from));
    return `${world.lab.hosts.length} hosts × ${instances.length} instances on port ${APP_PORT}, ${ms} ms`;
  });
  await report.check("reach-from-containers", async () => {
    const from = async (host: string): Promise<void> => {
      for (const instance of instances) {
        demandAnswerOf(instance, await world.inProbe(host, ["wget", "-q", "-O", "-", urlOf(instance)]));
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
export function demandAnswerOf(instance: RunningInstance, answer: string): void {
  const hello = readHello(answer);
  const same = hello.instance.startsWith(instance.id) && hello.host === instance.host;
  demand(same, () => `${instance.address} answers as ${hello.instance} on ${hello.host}, not ${instance.id}`);
}

function urlOf(instance: RunningInstance): string {
  return `http://${instance.address}:${APP_PORT}/`;
}

/** Id of an instance's running container, or null. */
export async function containerOf(world: TourWorld, host: string, instance: string): Promise<string | null> {
  const argv = ["docker", "ps", "--quiet", "--filter", `label=apollo.instance=${instance}`];
  return (await world.lab.mustExec(host, argv)).trim().split("\n")[0] || null;
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
