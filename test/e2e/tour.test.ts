import { afterAll, expect, test } from "bun:test";
import { downLab } from "../../src/lab/down-lab.ts";
import { upLab } from "../../src/lab/lab.ts";
import { ownBinary } from "../../src/lab/own-binary.ts";
import { runTour } from "../../src/lab/tour.ts";
import { consoleCheckBy } from "../../src/lab/tour-console.ts";

const TOUR_TIMEOUT_MS = 8 * 60_000;
const name = `tour-${crypto.randomUUID().slice(0, 6)}`;

afterAll(() => downLab(name));

test(
  "the guided tour holds on a server and three hosts, with the console in a browser",
  async () => {
    const binary = ownBinary();
    const print = (line: string): void => console.log(line);
    const check = new URL("./console-check.ts", import.meta.url).pathname;
    const byConsole = consoleCheckBy([process.execPath, check]);
    const lab = await upLab({ name, hosts: 3, binary, onProgress: print });
    const result = await runTour({ lab, binary, print, onProgress: print, byConsole });
    expect([result.failed, result.leftOut]).toEqual([0, 0]);
    expect(result.passed).toBeGreaterThanOrEqual(30);
  },
  TOUR_TIMEOUT_MS,
);
