import { z } from "zod";
import { AppError } from "../model/error.ts";
import { addressesOf, digArgv, parseDig } from "./dig.ts";
import type { DigAnswer } from "./dig.ts";
import type { Lab } from "./lab.ts";
import type { TourClient } from "./tour-client.ts";
import { waitFor } from "./wait-for.ts";

export const SERVICE = "nodejs-rest-api";
export const APP_V1 = "nodejs-rest-api.v1";
export const APP_V2 = "nodejs-rest-api.v2";
export const APP_PORT = 8080;
/** Name of the container on every host from which the tour looks at the network. */
export const PROBE = "tour-probe";
/** Apollo's network in the engine. */
export const NETWORK = "apollo";

const instanceShape = z.object({
  id: z.string(),
  app: z.string(),
  host: z.string(),
  goal: z.string(),
  phase: z.string(),
  health: z.string(),
  current: z.boolean(),
  address: z.string().nullable(),
});
/** An instance of an app, as /api/instances has it. */
export type TourInstance = z.infer<typeof instanceShape>;
/** One that runs: it has an address. */
export type RunningInstance = TourInstance & { readonly address: string };

/** What `GET /` of the example answers. */
export const helloShape = z.object({ name: z.string(), version: z.string(), instance: z.string(), host: z.string() });
export type Hello = z.infer<typeof helloShape>;

const DEPLOY_TIMEOUT_MS = 90_000;
const FOLLOW_TIMEOUT_MS = 10_000;

/** The lab as the tour's steps see it: what is there, asked afresh each time. */
export class TourWorld {
  readonly lab: Lab;
  readonly client: TourClient;
  readonly onProgress: (text: string) => void;
  readonly signal: AbortSignal | undefined;

  constructor(
    lab: Lab,
    client: TourClient,
    hooks: { readonly onProgress: (text: string) => void; readonly signal: AbortSignal | undefined },
  ) {
    this.lab = lab;
    this.client = client;
    this.onProgress = hooks.onProgress;
    this.signal = hooks.signal;
  }

  /** Asks until the probe gives something; see `waitFor`. */
  wait<T>(what: string, timeoutMs: number, probe: () => Promise<T | null | false>): Promise<T> {
    return waitFor(probe, { what, timeoutMs, onProgress: this.onProgress, signal: this.signal });
  }

  async instances(app: string): Promise<readonly TourInstance[]> {
    const all = await this.client.get(z.array(instanceShape), "/api/instances");
    return all.filter((instance) => instance.app.replace(/^\//, "") === app);
  }

  /** Waits until an app has exactly `count` instances, all running and healthy; returns them. */
  async settled(
    app: string,
    count: number,
    timeoutMs: number = DEPLOY_TIMEOUT_MS,
  ): Promise<readonly RunningInstance[]> {
    return this.wait(`${count} healthy instances of ${app}`, timeoutMs, async () => {
      const all = await this.instances(app);
      const ready = all.filter((item): item is RunningInstance => {
        return (
          item.phase === "running" && item.health === "healthy" && item.goal === "running" && item.address !== null
        );
      });
      const state = all.map((item) => `${item.host} ${item.goal}/${item.phase}/${item.health}`).join(", ");
      // What has ended may be listed for a while; what is ending is not settled.
      const here = all.filter((item) => item.phase !== "gone" && item.phase !== "failed");
      if (ready.length !== count || here.length !== count)
        throw new AppError("unavailable", `there is ${state || "none"}`);
      return ready;
    });
  }

  /** Asks the resolver that programs on the host use. `options` are dig's. */
  async dig(host: string, name: string, type: string, options: readonly string[] = []): Promise<DigAnswer> {
    return parseDig((await this.lab.exec(host, digArgv(name, type, options))).stdout);
  }

  /** Asks the resolver that programs in the host's probe container use, from the container's own network. */
  async digInContainer(host: string, name: string, type: string): Promise<DigAnswer> {
    const resolver = /^nameserver (\S+)$/m.exec(await this.inProbe(host, ["cat", "/etc/resolv.conf"]))?.[1];
    if (resolver === undefined) throw new AppError("unavailable", `the container on ${host} has no resolver`);
    const pid = (await this.lab.mustExec(host, ["docker", "inspect", "--format", "{{.State.Pid}}", PROBE])).trim();
    const argv = ["nsenter", "--target", pid, "--net", "--", ...digArgv(name, type, [`@${resolver}`])];
    return parseDig((await this.lab.exec(host, argv)).stdout);
  }

  inProbe(host: string, argv: readonly string[]): Promise<string> {
    return this.lab.mustExec(host, ["docker", "exec", PROBE, ...argv]);
  }

  /** Waits until the name has exactly these addresses on every host. */
  async dnsFollows(name: string, addresses: readonly string[], timeoutMs: number = FOLLOW_TIMEOUT_MS): Promise<void> {
    const wanted = addresses.toSorted().join(" ");
    await this.onEveryHost((host) =>
      this.wait(`${name} to be [${wanted}] on ${host}`, timeoutMs, async () => {
        const found = addressesOf(await this.dig(host, name, "A"))
          .toSorted()
          .join(" ");
        if (found !== wanted) throw new AppError("unavailable", `it is [${found}]`);
        return true;
      }),
    );
  }

  /** Waits until no host answers with the address. */
  async dnsWithout(name: string, address: string, timeoutMs: number): Promise<void> {
    await this.onEveryHost((host) =>
      this.wait(`${name} on ${host} to be without ${address}`, timeoutMs, async () => {
        return !addressesOf(await this.dig(host, name, "A")).includes(address);
      }),
    );
  }

  /** One request to a host's HAProxy, from that host: its status and body. */
  async viaIngress(
    host: string,
    name: string = `${SERVICE}.example.com`,
  ): Promise<{ readonly status: number; readonly body: string }> {
    const argv = [
      "curl",
      "-s",
      "-m",
      "5",
      "-H",
      `Host: ${name}`,
      "-w",
      "\n%{http_code} %{errormsg}",
      `http://${this.lab.node(host).address}/`,
    ];
    const { stdout } = await this.lab.exec(host, argv);
    const at = stdout.lastIndexOf("\n");
    const [status = "", ...message] = stdout.slice(at + 1).split(" ");
    const body = stdout.slice(0, Math.max(at, 0));
    return { status: Number(status), body: body === "" ? message.join(" ") : body };
  }

  /** Who answers behind a host's HAProxy in `count` requests. @throws AppError when one is not answered with 200. */
  async answeredBy(host: string, count: number): Promise<readonly Hello[]> {
    const hellos: Hello[] = [];
    for (let round = 0; round < count; round += 1) {
      const { status, body } = await this.viaIngress(host);
      if (status !== 200) throw new AppError("unavailable", `${host} answers ${status}: ${body.slice(0, 120)}`);
      hellos.push(readHello(body));
    }
    return hellos;
  }

  onEveryHost<T>(work: (host: string) => Promise<T>): Promise<readonly T[]> {
    return Promise.all(this.lab.hosts.map(work));
  }
}

/** @throws AppError `unavailable` when it is not the example's answer. */
export function readHello(text: string): Hello {
  try {
    return helloShape.parse(JSON.parse(text));
  } catch (cause) {
    throw new AppError("unavailable", `that is not the example's answer: ${text.slice(0, 120)}`, { cause });
  }
}

/** @throws AppError `unavailable` with `message()` unless the condition holds. */
export function demand(condition: boolean, message: () => string): void {
  if (!condition) throw new AppError("unavailable", message());
}
