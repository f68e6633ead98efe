import { parseIpv4 } from "../src/model/ip.ts";
import { cidrAddress, parseCidr } from "../src/model/ip.ts";
import { parseNetworkObject } from "../src/model/network-config.ts";
import type { Endpoint } from "../src/model/endpoint.ts";
import type { ServiceName } from "../src/model/ids.ts";
import { planFronts } from "../src/network/plan-fronts.ts";
import { renderFronts } from "../src/network/render-fronts.ts";
import { renderRuleset } from "../src/network/render-ruleset.ts";
import { ProcessRunner } from "../src/platform/linux/process-runner.ts";
import { type Bench, median } from "./bench.ts";

const SERVICES = 1000;
const ENDPOINTS = 10;
const ROUNDS = 7;
const RANGE = "10.2.0.0/16";
const VIRTUAL = "10.3.0.0/16";

/** What one change of the catalog costs a host of a cluster with a thousand virtual services: planned, rendered, loaded, read back. */
export const benchOutside: Bench = async ({ rounds, quick, progress }) => {
  const services = quick ? SERVICES / 10 : SERVICES;
  const wanted = rounds ?? ROUNDS;
  const namespace = `apollo-bench-${process.pid}`;
  const root = new ProcessRunner();
  await root.run(["ip", "netns", "add", namespace]);
  try {
    const runner = new ProcessRunner({ prefix: ["ip", "netns", "exec", namespace] });
    const virtuals = Array.from({ length: services }, (_, at) =>
      parseNetworkObject("virtual", { name: `s${at}`, address: cidrAddress(parseCidr(VIRTUAL), at + 1) }),
    );
    const endpoints = Array.from({ length: services * ENDPOINTS }, (_, at) => endpointOf(at));
    const times = { plan: [] as number[], load: [] as number[], list: [] as number[] };
    let bytes = 0;
    for (let round = 0; round < wanted; round++) {
      progress(`round ${round + 1} of ${wanted}`);
      const started = performance.now();
      // One endpoint is sick in each round: another one, so that the text is new.
      const changed = endpoints.with(round, { ...endpointOf(round), health: "critical" });
      const text = render(virtuals, changed);
      const rendered = performance.now();
      await runner.run(["nft", "-f", "-"], { stdin: text });
      const loaded = performance.now();
      await runner.run(["nft", "-j", "list", "table", "inet", "apollo"]);
      times.plan.push(rendered - started);
      times.load.push(loaded - rendered);
      times.list.push(performance.now() - loaded);
      bytes = text.length;
    }
    return {
      rounds: wanted,
      figures: {
        virtualServices: services,
        endpointsEach: ENDPOINTS,
        rulesetKiB: Math.round(bytes / 1024),
        planMs: median(times.plan),
        loadMs: median(times.load),
        listMs: median(times.list),
      },
      ratios: {},
      notes: [
        "The whole table is replaced in one transaction by each change; changes that come meanwhile make one more load.",
        "listMs is what a host pays to see that nobody altered the table: once a pass.",
      ],
    };
  } finally {
    await root.run(["ip", "netns", "delete", namespace]);
  }
};

function endpointOf(at: number): Endpoint {
  const address = cidrAddress(parseCidr(RANGE), 256 + at);
  return {
    id: `h1:c${at}:8080`,
    service: `s${Math.floor(at / ENDPOINTS)}` as ServiceName,
    address,
    port: 8080,
    protocol: "tcp",
    tags: [],
    meta: {},
    host: "h1",
    container: `c${at}`,
    instanceId: null,
    appId: null,
    health: "passing",
  };
}

function render(
  virtuals: Parameters<typeof planFronts>[0]["config"]["virtuals"],
  endpoints: readonly Endpoint[],
): string {
  const { fronts } = planFronts({
    config: { virtuals, publications: [] },
    endpoints,
    hostName: "h1",
    hostLabels: {},
    busyPorts: new Set(),
  });
  const part = renderFronts(fronts, {
    range: RANGE,
    virtualRange: VIRTUAL,
    blocks: ["10.2.1.0/24"],
    gateway: parseIpv4("10.2.1.1"),
    bridge: "apollo0",
    bridgeSeen: true,
  });
  return renderRuleset({ range: RANGE, bridge: "apollo0", parts: part === null ? [] : [part] }).text;
}
