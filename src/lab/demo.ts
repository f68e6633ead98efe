import { downLab } from "./down-lab.ts";
import { openLab, upLab } from "./lab.ts";
import type { Lab } from "./lab.ts";
import { TourClient } from "./tour-client.ts";
import { readConsoleCheck } from "./tour-console.ts";
import { runTour } from "./tour.ts";

export interface DemoOptions {
  /** Ends after the tour; else the lab stays until `signal` aborts. */
  readonly once: boolean;
  /** The `apollo` program that runs on the lab's hosts: a built one, not Bun itself. */
  readonly binary: string;
  /** Default 3: the least that has both a direct and a tunnelled link. */
  readonly hosts?: number;
  readonly name?: string;
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
}

const HOSTS = 3;
/** What a shell says of a program that Ctrl-C ended. */
const INTERRUPTED_CODE = 130;

/**
 * `apollo demo`: a lab, the guided tour on it, and unless `once` a cluster to play with until Ctrl-C. Nothing is left behind.
 * @returns the exit code: 0 only when every check of the tour held.
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  const { print, signal, binary } = options;
  // Before anything starts: a check that cannot be run is found out at once.
  const byConsole = readConsoleCheck(process.env);
  const onProgress = (text: string): void => print(`     … ${text}`);
  const startMs = performance.now();
  const lab = await upLab({
    hosts: options.hosts ?? HOSTS,
    binary,
    onProgress,
    signal,
    ...(options.name === undefined ? {} : { name: options.name }),
  });
  try {
    print(
      `Lab ${lab.name} is up after ${Math.round(performance.now() - startMs)} ms: a server and ${lab.hosts.length} hosts.`,
    );
    const { passed, failed, leftOut } = await runTour({ lab, binary, print, onProgress, signal, byConsole });
    const left = leftOut === 0 ? "" : `, ${leftOut} left out`;
    print(`\n${passed} ok, ${failed} failed${left}, ${Math.round((performance.now() - startMs) / 1000)} s`);
    if (!options.once && !signal.aborted) {
      describeLab(lab, binary, print);
      await untilAborted(signal);
      return failed === 0 ? 0 : 1;
    }
    if (signal.aborted) return INTERRUPTED_CODE;
    return failed === 0 ? 0 : 1;
  } finally {
    print(`Removing lab ${lab.name} …`);
    await downLab(lab.name);
    print("Nothing of it is left.");
  }
}

/** Where to look and what to type, for the one who stays. */
export function describeLab(lab: Lab, binary: string, print: (line: string) => void): void {
  const client = new TourClient(openLab(lab.name), binary);
  const example = "examples/nodejs-rest-api/nodejs-rest-api-v1.json";
  const [first = "h1"] = lab.hosts;
  const lines = [
    "",
    "The cluster stays until you press Ctrl-C. Look around:",
    `  console   ${client.url}/ui/#token=${client.token}`,
    ...lab.hosts.map(
      (host) =>
        `  ${host} port 80  http://127.0.0.1:${lab.localPort(host, 80)}/   (name the service in the Host header)`,
    ),
    "In another terminal:",
    `  export APOLLO_CONFIG=${lab.adminConfigPath}`,
    `  ${binary} app create ${example}`,
    `  ${binary} lab exec ${first} -- dig nodejs-rest-api.service.consul SRV`,
  ];
  for (const line of lines) print(line);
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
