import type { Lab } from "./lab.ts";
import { tourScale, tourVersions } from "./tour-change.ts";
import { TourClient } from "./tour-client.ts";
import type { ScaleByConsole } from "./tour-console.ts";
import { tourDeploy } from "./tour-deploy.ts";
import { tourDestroy } from "./tour-destroy.ts";
import { tourHosts, tourImages } from "./tour-hosts.ts";
import { tourFailure } from "./tour-failure.ts";
import { tourDns } from "./tour-dns.ts";
import { tourIngress, tourReach } from "./tour-reach.ts";
import { TourEnded, TourReport } from "./tour-report.ts";
import { TourWorld } from "./tour-world.ts";

export interface TourOptions {
  readonly lab: Lab;
  /** The `apollo` program for the machine's side. */
  readonly binary: string;
  /** Lines for a person: titles, `ok NAME figure`, `FAIL NAME why`. */
  readonly print: (line: string) => void;
  readonly onProgress: (text: string) => void;
  /** Scales by the console in a browser; null leaves that check out. */
  readonly byConsole: ScaleByConsole | null;
  readonly signal?: AbortSignal;
}

export interface TourResult {
  readonly passed: number;
  readonly failed: number;
  readonly leftOut: number;
}

/**
 * The guided tour: the whole of what Apollo is for, in ten steps on a lab of at least two hosts, each checked by what a
 * stranger would use (CLI, HTTP, dig, docker). It leaves the lab as it found it, but for the images.
 */
export async function runTour(options: TourOptions): Promise<TourResult> {
  const { lab, binary, onProgress, signal } = options;
  const report = new TourReport(options.print);
  const world = new TourWorld(lab, new TourClient(lab, binary), { onProgress, signal });
  const steps: readonly ((world: TourWorld, report: TourReport) => Promise<void>)[] = [
    tourHosts,
    tourImages,
    tourDeploy,
    tourReach,
    tourDns,
    tourIngress,
    (w, r) => tourScale(w, r, options.byConsole),
    tourFailure,
    tourVersions,
    tourDestroy,
  ];
  try {
    for (const step of steps) {
      if (signal?.aborted === true) break;
      await step(world, report);
    }
  } catch (error) {
    if (!(error instanceof TourEnded)) throw error;
    options.print(`The tour ends here: ${error.message}. Logs: ${lab.logsDir}`);
  }
  return { passed: report.passed, failed: report.failed, leftOut: report.leftOut };
}
