import { AppError } from "../../src/model/error.ts";
import { allRuns, clusterUp, testLabName } from "../../test/e2e/cluster.fixture.ts";
import { WEB_IMAGE } from "../../src/lab/images.ts";
import { hostsShape } from "../../test/e2e/cluster.fixture.ts";

const COUNT = 300;
const HOSTS = 3;
const START_MS_MAX = 600_000;
const APP = "many";

/** Real containers started at once over a lab whose hosts begin with sixteen addresses each: no two share one. */
export async function soakAddresses([text = String(COUNT)]: readonly string[]): Promise<string> {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) {
    throw new AppError("invalid", `Cannot start "${text}" containers: it must be a number`, {
      hint: "npm run soak -- addresses 300",
    });
  }
  const world = await clusterUp(testLabName("soak"), HOSTS, ["--block-prefix", "28"]);
  try {
    const startedMs = performance.now();
    const app = {
      id: APP,
      cpus: 0.001,
      mem: 4,
      instances: count,
      cmd: "exec sleep 100000",
      container: { type: "DOCKER", docker: { image: WEB_IMAGE } },
      networks: [{ mode: "container", name: "apollo" }],
    };
    const { status, body } = await world.client.request("POST", "/v2/apps", { body: app, login: "basic" });
    if (status !== 201) throw new AppError("unavailable", `POST answers ${status}: ${JSON.stringify(body)}`);
    await world.wait(`${count} containers`, START_MS_MAX, async () => {
      const running = (await world.instances(APP)).filter(({ phase }) => phase === "running").length;
      if (running !== count) throw new AppError("unavailable", `${running} run`);
      return true;
    });
    const seconds = (performance.now() - startedMs) / 1000;
    const addresses = (await allRuns(world.lab))
      .filter(({ instance }) => instance !== "")
      .map(({ address }) => address);
    const distinct = new Set(addresses).size;
    if (addresses.length !== count || distinct !== count) {
      throw new AppError("conflict", `Addresses are shared: ${addresses.length} containers have ${distinct} addresses`);
    }
    const hosts = await world.client.get(hostsShape, "/api/hosts");
    const blocks = hosts.map(({ name, blocks: own }) => `${name} ${own.join(" ")}`).join("; ");
    return `${count} containers on ${HOSTS} hosts in ${seconds.toFixed(1)} s, ${distinct} addresses; ${blocks}`;
  } finally {
    await world.lab.down();
  }
}
