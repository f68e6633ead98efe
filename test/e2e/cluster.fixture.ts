// A lab with Apollo on it, and what the end-to-end tests look at and change there.
import { z } from "zod";
import { AppError } from "../../src/model/error.ts";
import { addressesOf } from "../../src/lab/dig.ts";
import { WEB_IMAGE, publishWebImage } from "../../src/lab/images.ts";
import { upLab } from "../../src/lab/lab.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { ownBinary } from "../../src/lab/own-binary.ts";
import { TourClient } from "../../src/lab/tour-client.ts";
import { TourWorld } from "../../src/lab/tour-world.ts";
import type { RunningInstance } from "../../src/lab/tour-world.ts";
import { waitFor } from "../../src/lab/wait-for.ts";

export const LAB_TIMEOUT_MS = 120_000;
/** Generous: the machine may be busy with other things. What is measured is printed. */
export const FOLLOW_TIMEOUT_MS = 60_000;

/** A lab's name that no other run has. */
export function testLabName(what: string): string {
  return `${what}-${crypto.randomUUID().slice(0, 6)}`;
}

/** A server and hosts that joined it, with the web image in the registry. The caller takes the lab down, also on failure. */
export async function clusterUp(name: string, hosts: number, serverArgs: readonly string[] = []): Promise<TourWorld> {
  const binary = ownBinary();
  const lab = await upLab({ name, hosts, binary, serverArgs });
  await publishWebImage(name, "h1");
  return worldOf(lab);
}

/** What the tests look at and change in a lab. */
export function worldOf(lab: Lab): TourWorld {
  return new TourWorld(lab, new TourClient(lab, ownBinary()), { onProgress: () => undefined, signal: undefined });
}

/** A web server under a service name of its own, checked each second and never replaced for being sick. */
export function webApp(id: string, change: Readonly<Record<string, unknown>> = {}): { readonly id: string } {
  return {
    id,
    cpus: 0.1,
    mem: 16,
    instances: 1,
    env: { SERVICE_NAME: id },
    container: {
      type: "DOCKER",
      docker: { image: WEB_IMAGE, network: "BRIDGE", portMappings: [{ containerPort: 80, hostPort: 0 }] },
    },
    healthChecks: [
      {
        protocol: "HTTP",
        path: "/",
        portIndex: 0,
        gracePeriodSeconds: 5,
        intervalSeconds: 1,
        timeoutSeconds: 2,
        maxConsecutiveFailures: 0,
      },
    ],
    ...change,
  } as { readonly id: string };
}

/** By Marathon's API, and waits until all of it is healthy. */
export async function deploy(world: TourWorld, app: { readonly id: string }): Promise<readonly RunningInstance[]> {
  const { status, body } = await world.client.request("POST", "/v2/apps", { body: app, login: "basic" });
  if (status !== 201) throw new AppError("unavailable", `POST of ${app.id} answers ${status}: ${JSON.stringify(body)}`);
  return world.settled(app.id, (app as { readonly instances?: number }).instances ?? 1);
}

/** One run of a container: a restart in place keeps the id and changes the start. */
export interface Run {
  readonly container: string;
  readonly name: string;
  readonly startedAt: string;
  readonly address: string;
  readonly instance: string;
}

/** What runs on a host, by instance; containers that are no instance of ours included. */
export async function runsOn(lab: Lab, host: string): Promise<readonly Run[]> {
  const ids = (await lab.mustExec(host, ["docker", "ps", "--quiet", "--no-trunc"])).trim();
  if (ids === "") return [];
  const format =
    '{{.Id}} {{.Name}} {{.State.StartedAt}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}} {{index .Config.Labels "apollo.instance"}}';
  const text = await lab.mustExec(host, ["docker", "inspect", "--format", format, ...ids.split("\n")]);
  return text
    .trim()
    .split("\n")
    .map((line) => {
      const [container = "", name = "", startedAt = "", address = "", instance = ""] = line.split(" ");
      return { container, name, startedAt, address, instance };
    })
    .toSorted((a, b) => (a.container < b.container ? -1 : 1));
}

/** Five seconds of an instance's life, and time for a busy engine. */
const KEPT_TIMEOUT_MS = 30_000;

/** An instance is given to the engine's own keeping after its first seconds (ADR 10): then it survives a power cut. */
export function keptByEngine(lab: Lab, host: string): Promise<true> {
  return eventually(
    `the engine of ${host} to keep what runs there`,
    async () => {
      const ids = (await runsOn(lab, host)).map(({ container }) => container);
      const format = "{{.HostConfig.RestartPolicy.Name}}";
      const policies = await lab.mustExec(host, ["docker", "inspect", "--format", format, ...ids]);
      return policies
        .trim()
        .split("\n")
        .every((policy) => policy === "unless-stopped");
    },
    KEPT_TIMEOUT_MS,
  );
}

/** What runs on all hosts of a lab. */
export async function allRuns(lab: Lab): Promise<readonly Run[]> {
  return (await Promise.all(lab.hosts.map((host) => runsOn(lab, host)))).flat();
}

/** Asks until the condition holds; the message of the last AppError says why it does not. */
export function eventually(what: string, probe: () => Promise<boolean>, timeoutMs = FOLLOW_TIMEOUT_MS): Promise<true> {
  return waitFor(async () => ((await probe()) ? true : null), { what, timeoutMs });
}

/** Asks a name on hosts again and again until stopped; every answer but one with addresses is a failure. */
export class DnsLoop {
  readonly failures: string[] = [];
  answers = 0;
  readonly #stop = new AbortController();
  readonly #done: Promise<unknown>;

  constructor(world: TourWorld, hosts: readonly string[], name: string) {
    this.#done = Promise.all(
      hosts.map(async (host) => {
        while (!this.#stop.signal.aborted) {
          const answer = await world.dig(host, name, "A", ["+tries=1"]);
          this.answers += 1;
          if (answer.status !== "NOERROR" || addressesOf(answer).length === 0)
            this.failures.push(`${host}: ${answer.status ?? "no answer"}`);
        }
      }),
    );
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }
}

/** As many as a service of the tests has instances: in turn, each would be asked once. */
const REQUESTS = 3;

/** What a host's HAProxy answers to a few requests for a name. */
export async function ingressStatuses(world: TourWorld, host: string, name: string): Promise<readonly number[]> {
  const statuses: number[] = [];
  for (let round = 0; round < REQUESTS; round += 1) statuses.push((await world.viaIngress(host, name)).status);
  return statuses;
}

export const hostsShape = z.array(
  z.object({ name: z.string(), phase: z.string(), blocks: z.array(z.string()), address: z.string() }),
);

export async function hostPhase(world: TourWorld, name: string): Promise<string> {
  const hosts = await world.client.get(hostsShape, "/api/hosts");
  return hosts.find((host) => host.name === name)?.phase ?? "none";
}
