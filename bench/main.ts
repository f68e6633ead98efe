import { cpus, release, totalmem } from "node:os";
import type { Bench, BenchResult } from "./bench.ts";

/** Every benchmark by name, loaded only when asked for. */
const BENCHES: Readonly<Record<string, { readonly about: string; readonly load: () => Promise<Bench> }>> = {
  deploy: {
    about: "POST of 30 instances until all are healthy, against raw engine starts and Swarm, on one lab",
    load: async () => (await import("./deploy.ts")).benchDeploy,
  },
  outside: {
    about: "a change of the catalog with 1,000 virtual services of 10 endpoints: rules planned, loaded, read back",
    load: async () => (await import("./outside.ts")).benchOutside,
  },
  placement: {
    about: "instances placed a second at 10,000 hosts",
    load: async () => (await import("./placement.ts")).benchPlacement,
  },
  dns: {
    about: "DNS answers a second: ours, dnsmasq and unbound, one process each",
    load: async () => (await import("./dns.ts")).benchDns,
  },
  overlay: {
    about: "container to container against host to host and Swarm: TCP, UDP, latency, processor time",
    load: async () => (await import("./overlay.ts")).benchOverlay,
  },
  catalog: {
    about: "Consul's API: KV, registrations, health and 1,000 watchers, against a bare HTTP server",
    load: async () => (await import("./catalog.ts")).benchCatalog,
  },
  propagate: {
    about: "a change of the catalog until the DNS and the HAProxy of every host of a lab have it",
    load: async () => (await import("./propagate.ts")).benchPropagate,
  },
  control: {
    about: "one of 1,000 hosts joins, gets a block, goes down, leaves: bytes and time for the server and each host",
    load: async () => (await import("./control.ts")).benchControl,
  },
  idle: {
    about: "memory and processor time of an agent that has nothing to do",
    load: async () => (await import("./idle.ts")).benchIdle,
  },
  feed: {
    about: "what the console's feed costs the server at 100 hosts and 5,000 instances",
    load: async () => (await import("./feed.ts")).benchFeed,
  },
};

/** `npm run bench -- NAME [--json] [--rounds N] [--quick]`: a table for people, or one JSON object on the last line. */
async function main(argv: readonly string[]): Promise<number> {
  const name = argv.find((word) => !word.startsWith("-"));
  const chosen = name === undefined ? undefined : BENCHES[name];
  if (name === undefined || chosen === undefined) {
    const lines = Object.entries(BENCHES).map(([each, { about }]) => `  ${each.padEnd(12)}${about}`);
    console.error(`Usage: npm run bench -- NAME [--json] [--rounds N] [--quick]\n\n${lines.join("\n")}`);
    return name === undefined ? 0 : 2;
  }
  const roundsAt = argv.indexOf("--rounds");
  const bench = await chosen.load();
  const result: BenchResult = {
    name,
    machine: { cpus: cpus().length, memoryGiB: Math.round(totalmem() / 2 ** 30), kernel: release() },
    ...(await bench({
      rounds: roundsAt < 0 ? null : Number(argv[roundsAt + 1]),
      quick: argv.includes("--quick"),
      progress: (text) => console.error(text),
    })),
  };
  console.log(argv.includes("--json") ? JSON.stringify(result) : renderTable(result));
  return 0;
}

function renderTable(result: BenchResult): string {
  const { machine } = result;
  const rows = (title: string, values: Readonly<Record<string, number>>): string[] => [
    title,
    ...Object.entries(values).map(([key, value]) => `  ${key.padEnd(34)}${value.toFixed(2).padStart(12)}`),
  ];
  return [
    `${result.name}: median of ${result.rounds} rounds, ${machine.cpus} cores, ${machine.memoryGiB} GiB, Linux ${machine.kernel}`,
    ...rows("figures", result.figures),
    ...rows("ratios (higher is better)", result.ratios),
    ...result.notes.map((note) => `· ${note}`),
  ].join("\n");
}

process.exitCode = await main(process.argv.slice(2));
