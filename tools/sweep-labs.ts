// Takes down the labs that a test run left behind: node tools/run.mjs names the run. Exit code 1 when there were any.
import { downLab } from "../src/lab/down-lab.ts";
import { listLabNames, readLabState } from "../src/lab/lab-state.ts";

const run = process.argv[2];
const left = listLabNames().filter((name) => run !== undefined && readLabState(name)?.run === run);
for (const name of left) await downLab(name);
if (left.length > 0) {
  console.error(`Labs left behind by tests, removed now: ${left.join(", ")}`);
  process.exitCode = 1;
}
