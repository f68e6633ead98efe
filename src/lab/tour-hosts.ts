import { z } from "zod";
import { APP_VERSIONS, WEB_IMAGE, appImage, publishAppImages, publishWebImage } from "./images.ts";
import { cidrContains, cidrsOverlap, parseCidr } from "../model/ip.ts";
import { processOf } from "./lab-state.ts";
import { listInNamespace } from "./process-table.ts";
import { timed } from "./tour-report.ts";
import type { TourReport } from "./tour-report.ts";
import { NETWORK, PROBE, demand } from "./tour-world.ts";
import type { TourWorld } from "./tour-world.ts";

/** The container range of the seed; each host leases a /24 of it. */
const RANGE = parseCidr("10.2.0.0/16");
const PROBE_TIMEOUT_MS = 60_000;

const hostShape = z.object({ name: z.string(), phase: z.string(), blocks: z.array(z.string()) });

/** Step 1: the hosts are hosts, not copies of one, and the cluster knows them. */
export async function tourHosts(world: TourWorld, report: TourReport): Promise<void> {
  const { lab, client } = world;
  report.title("1 · Hosts");
  await report.check("hosts-apart", async () => {
    const ask = async (host: string): Promise<readonly string[]> => [
      await lab.mustExec(host, ["cat", "/etc/hostname"]),
      await lab.mustExec(host, ["readlink", "/proc/self/ns/net"]),
      await lab.mustExec(host, ["readlink", "/proc/self/ns/mnt"]),
      await lab.mustExec(host, ["docker", "info", "--format", "{{.ID}}"]),
    ];
    const facts = await world.onEveryHost(ask);
    const distinct = new Set(facts.flat());
    demand(
      distinct.size === lab.hosts.length * 4,
      () => `hosts share name, network, root or engine: ${facts.join(" ")}`,
    );
    return `${lab.hosts.length} names, networks, roots and engines`;
  });
  await report.check("hosts-programs", async () => {
    await world.onEveryHost((host) =>
      world.wait(`agent and HAProxy on ${host}`, PROBE_TIMEOUT_MS, () => {
        const programs = listInNamespace(processOf(lab.name, host)).map(({ argv }) => argv[0]?.split("/").at(-1));
        return Promise.resolve(["apollo", "haproxy", "dockerd"].every((program) => programs.includes(program)));
      }),
    );
    return "agent, engine and HAProxy on each";
  });
  await report.require("host-list", async () => {
    const hosts = await client.cliJson(z.array(hostShape), ["host", "list"]);
    const up = hosts.filter((host) => host.phase === "up").map((host) => host.name);
    demand(up.join(" ") === lab.hosts.join(" "), () => `up are [${up.join(" ")}], not [${lab.hosts.join(" ")}]`);
    const blocks = hosts.flatMap((host) => host.blocks).map(parseCidr);
    const fits = blocks.every((block, index) => {
      return (
        cidrContains(RANGE, firstOf(block)) && blocks.slice(index + 1).every((other) => !cidrsOverlap(block, other))
      );
    });
    demand(fits && blocks.length >= hosts.length, () => "blocks overlap or lie outside 10.2.0.0/16");
    return hosts.map((host) => `${host.name} ${host.blocks.join("+")}`).join(", ");
  });
  await report.check("access-refused", async () => {
    const { status } = await client.request("GET", "/api/hosts", { login: "none" });
    demand(status === 401 || status === 403, () => `without a token the API answers ${status}`);
    const marathon = await client.request("GET", "/v2/apps", { login: "none" });
    demand(marathon.status === 401, () => `without a token Marathon's API answers ${marathon.status}`);
    return `without a token: ${status}`;
  });
}

function firstOf(block: ReturnType<typeof parseCidr>): Parameters<typeof cidrContains>[1] {
  return [24, 16, 8, 0].map((shift) => (block.first >>> shift) & 255).join(".") as Parameters<typeof cidrContains>[1];
}

/** Step 2: images are built without a network and come to the hosts by a registry. */
export async function tourImages(world: TourWorld, report: TourReport): Promise<void> {
  const { lab } = world;
  const builder = lab.hosts[0] ?? "";
  report.title("2 · Images");
  await report.require("images-published", async () => {
    const { ms } = await timed(async () => {
      await publishAppImages(lab.name, builder, world.onProgress);
      await publishWebImage(lab.name, builder);
    });
    const url = "http://registry.lab:5000/v2/apollo/nodejs-rest-api/tags/list";
    const { tags } = z
      .object({ tags: z.array(z.string()) })
      .parse(JSON.parse(await lab.mustExec(builder, ["curl", "-sf", url])));
    demand(
      APP_VERSIONS.every((version) => tags.includes(version)),
      () => `the registry has ${tags.join(" ")}`,
    );
    return `${ms} ms; the registry has ${tags.toSorted().join(", ")}`;
  });
  await report.require("probes-run", async () => {
    const { ms } = await timed(() => world.onEveryHost((host) => startProbe(world, host)));
    return `a container to look from on each host, ${ms} ms`;
  });
}

/** A container that is on the network and in no catalog. */
async function startProbe({ lab }: TourWorld, host: string): Promise<void> {
  const argv = ["docker", "run", "--detach", "--name", PROBE, "--network", NETWORK, "--env", "SERVICE_IGNORE=1"];
  await lab.mustExec(host, [...argv, WEB_IMAGE], { timeoutMs: PROBE_TIMEOUT_MS });
}

/** Shown where hosts must have pulled: the digest that only a registry gives. */
export async function pulledImages({ lab }: TourWorld, host: string): Promise<readonly string[]> {
  const argv = ["docker", "images", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"];
  const lines = (await lab.mustExec(host, argv)).split("\n");
  return APP_VERSIONS.map(appImage).filter((image) => lines.some((line) => line.startsWith(`${image} sha256:`)));
}
