#!/usr/bin/env node
// The project's commands, `npm run NAME`: set-up first, then the work under Bun. Plain Node.js, since Bun may be missing.
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";
import { reportSetupError, setUp } from "./setup.mjs";
import { parseBunFailures, parseBunSummary } from "./parse-bun-summary.mjs";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const MINUTE_MS = 60_000;
/** A hanging suite must not take the deadline of the whole run with it. */
/** Of one test that names none: only a hang takes so long, also on a machine with much else to do. */
const TEST_MS = { unit: 30_000, netns: 60_000, e2e: 180_000, long: 300_000 };
const DEADLINE_MS = {
  build: 3 * MINUTE_MS,
  check: 3 * MINUTE_MS,
  unit: 5 * MINUTE_MS,
  netns: 9 * MINUTE_MS,
  e2e: 10 * MINUTE_MS,
  long: 12 * MINUTE_MS,
  sweep: MINUTE_MS,
};
/** What a suite has to remove its namespaces after its deadline. */
const CLEAN_UP_MS = 20_000;
/** Two signals within this are one press of Ctrl-C that came by two ways. */
const SAME_KEY_MS = 500;
/** Labs of this run's tests carry it, and the name of the suite. */
const RUN = `test-${process.pid}`;

const COMMANDS = {
  build: { about: "build dist/apollo", run: (bun) => runBuild(bun) },
  demo: { about: "the guided tour on a lab of three hosts; --once ends by itself", run: demo, withBrowser: true },
  test: { about: "build, check and all tests", run: test, withBrowser: true },
  ok: { about: "check and the fast tests, two minutes", run: ok },
  check: { about: "types, lint, format, layers, house rules", run: (bun) => report([], () => checks(bun)) },
  bench: { about: "a benchmark by name, [--json]; without a name, the list", run: bench },
  sim: {
    about: "the simulated cluster, [--what rollout|cluster] [--seed N] [--count N] [--trace]",
    run: (bun, args) => script(bun, "src/sim/main.ts", args),
  },
  long: {
    about:
      "lab tests that take minutes: declared networks, hosts that come and go, encryption, foreign clients, IPv6, trace",
    run: long,
  },
  soak: {
    about:
      "a long run by name: addresses [COUNT], tests PATTERN… [--times 20] [--pressure 0], idle-queries [COUNT], http-fuzz [COUNT [SEED]]",
    run: soak,
  },
  dev: { about: "the CLI from its sources", run: (bun, args) => script(bun, "src/cli/main.ts", args) },
};

const [name = "", ...args] = process.argv.slice(2);
const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
if (command === undefined) {
  console.error(`Cannot run "${name}": the commands are`);
  for (const [each, { about }] of Object.entries(COMMANDS)) console.error(`  npm run ${each.padEnd(6)} ${about}`);
  process.exit(2);
}
try {
  const bun = await setUp({ withBrowser: command.withBrowser === true });
  process.exitCode = await command.run(bun, args);
} catch (error) {
  reportSetupError(error);
  process.exitCode = 1;
  // The last line of a test run is read by programs, whatever happened before it.
  if (name === "test") console.log("0 passed, 1 failed");
}

async function demo(bun, rest) {
  const built = await runBuild(bun);
  if (built !== 0) return built;
  // The binary carries no browser driver: it is told what to run for the console's part of the tour.
  const check = JSON.stringify([bun, join(ROOT, "test/e2e/console-check.ts")]);
  const env = { ...process.env, APOLLO_CONSOLE_CHECK: check };
  return run([join(ROOT, "dist/apollo"), "demo", ...rest], { env, group: true });
}

async function bench(bun, rest) {
  // The last line of --json is for programs: what the build has to say goes where it does not disturb.
  const built = await runBuild(bun, { stdout: 2 });
  return built === 0 ? script(bun, "bench/main.ts", rest) : built;
}

async function soak(bun, rest) {
  const built = await runBuild(bun);
  return built === 0 ? script(bun, "bench/soak/main.ts", rest) : built;
}

function script(bun, path, rest) {
  if (existsSync(join(ROOT, path))) return run([bun, join(ROOT, path), ...rest]);
  console.error(`Cannot run ${path}: it is not there`);
  return 1;
}

function runBuild(bun, options = {}) {
  return run([bun, join(ROOT, "tools/build.ts")], { deadlineMs: DEADLINE_MS.build, ...options });
}

function ok(bun) {
  return report([], async () => [...(await checks(bun)), ...(await bunTests(bun, "unit")).results]);
}

function test(bun) {
  return report([], async () => {
    const built = await step("build", DEADLINE_MS.build, [bun, join(ROOT, "tools/build.ts")]);
    const results = [built, ...(await checks(bun)), ...(await bunTests(bun, "unit")).results];
    // Both wait for kernels and engines far more than they compute: side by side they take two thirds of the time.
    const [netns, e2e] = await Promise.all([bunTests(bun, "netns", { aside: true }), bunTests(bun, "e2e")]);
    process.stdout.write(netns.output);
    return [...results, ...netns.results, ...e2e.results];
  });
}

/** What a change of the network or of discovery should pass as well, and `test` has no time for. */
function long(bun) {
  return report([], async () => [
    await step("build", DEADLINE_MS.build, [bun, join(ROOT, "tools/build.ts")]),
    ...(await bunTests(bun, "long")).results,
  ]);
}

/** Prints every suite's figures and the sum; the sum is the last line, in a form that programs read. */
async function report(before, suites) {
  const results = [...before, ...(await suites())];
  console.log("");
  for (const { suite, passed, failed, ms, note } of results) {
    const mark = failed === 0 ? "ok  " : "FAIL";
    console.log(
      `${mark} ${suite.padEnd(12)} ${String(passed).padStart(5)} passed ${String(failed).padStart(3)} failed ${(ms / 1000).toFixed(1).padStart(7)} s${note}`,
    );
  }
  for (const { file, test, error } of results.flatMap(({ failures = [] }) => failures))
    console.log(`FAIL ${file}: ${test}${error === "" ? "" : `: ${error}`}`);
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  console.log(`${sum("passed")} passed, ${sum("failed")} failed`);
  return sum("failed") === 0 ? 0 : 1;
}

/** Each check counts as one test. */
async function checks(bun) {
  const bin = (program) => join(ROOT, "node_modules/.bin", program);
  const tsc = (config) => [bin("tsc"), "-p", join(ROOT, config)];
  const folders = ["src", "tools", "test", "bench", "examples"].filter((folder) => existsSync(join(ROOT, folder)));
  const list = [
    ["types: core", tsc("tsconfig.core.json")],
    ["types", tsc("tsconfig.json")],
    ...(hasFiles("src/console")
      ? [
          ["types: ui", tsc("tsconfig.console.json")],
          ["types: ui tests", tsc("tsconfig.console-test.json")],
        ]
      : []),
    ["lint", [bin("oxlint"), "--type-aware", ...folders]],
    ["format", [bin("oxfmt"), "--check", ...folders]],
    ...["check-layers", "tidy"]
      .filter((tool) => existsSync(join(ROOT, `tools/${tool}.ts`)))
      .map((tool) => [tool, [bun, join(ROOT, `tools/${tool}.ts`)]]),
  ];
  const results = [];
  for (const [what, argv] of list) results.push(await step(what, DEADLINE_MS.check, argv));
  return results;
}

async function step(suite, deadlineMs, argv) {
  console.log(`\n── ${suite}`);
  const startMs = Date.now();
  const code = await run(argv, { deadlineMs });
  return { suite, passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, ms: Date.now() - startMs, note: "" };
}

/** Which suite a test file belongs to. */
function suiteOf(path) {
  if (/\.netns\.test\.tsx?$/.test(path)) return "netns";
  if (/\.long\.test\.tsx?$/.test(path)) return "long";
  return path.startsWith("test/e2e/") ? "e2e" : "unit";
}

/** What is run `aside` of another suite shows its output when it is over, as part of what this returns. */
async function bunTests(bun, suite, { aside = false } = {}) {
  const all = ["src", "tools", "test", "bench"].flatMap(listFiles);
  const files = all.filter((path) => /\.test\.tsx?$/.test(path) && suiteOf(path) === suite);
  if (files.length === 0) return { results: [], output: "" };
  const heading = `\n── ${suite}: ${files.length} files`;
  console.log(aside ? `${heading}; what they print follows at the end` : heading);
  const startMs = Date.now();
  const output = [];
  // "./" makes it a path; without it Bun takes it for a pattern and runs more than that.
  const argv = [bun, "test", "--timeout", String(TEST_MS[suite]), ...files.map((path) => `./${path}`)];
  const deadlineMs = DEADLINE_MS[suite];
  const labRun = `${RUN}-${suite}`;
  const env = { ...process.env, APOLLO_LAB_RUN: labRun };
  const code = await run(argv, { deadlineMs, env, quiet: aside, tee: (bytes) => output.push(bytes) });
  const text = Buffer.concat(output).toString("utf8");
  const { passed, failed, complete } = parseBunSummary(text);
  // A crash, or a failure outside any test, leaves no failed test behind: it is one.
  const crashed = code !== 0 && failed === 0 ? 1 : 0;
  const note = complete
    ? ""
    : code === null
      ? `  (no end after ${deadlineMs / 1000} s)`
      : "  (ended without a summary)";
  const count = failed + (crashed || (complete ? 0 : 1));
  const results = [{ suite, passed, failed: count, ms: Date.now() - startMs, note, failures: parseBunFailures(text) }];
  if (suite !== "unit") results.push(await sweep(bun, suite, labRun));
  return { results, output: aside ? `${heading}\n${text}` : "" };
}

/** Removes labs that the suite left behind, which is a failure of its own. */
async function sweep(bun, suite, labRun) {
  const startMs = Date.now();
  const code = await run([bun, join(ROOT, "tools/sweep-labs.ts"), labRun], { deadlineMs: DEADLINE_MS.sweep });
  const failed = code === 0 ? 0 : 1;
  return { suite: `${suite} clean`, passed: 1 - failed, failed, ms: Date.now() - startMs, note: "" };
}

/**
 * Runs a program and returns its exit code, null when the deadline came first. With `group` it gets a process group of its
 * own, so that one Ctrl-C reaches it once, from us: npm hands on what the terminal has already sent to everyone, and a second
 * Ctrl-C means "do not clean up". Without, it has the terminal to itself.
 */
function run(
  [program, ...rest],
  { deadlineMs, group = deadlineMs !== undefined, tee, quiet = false, stdout = 1, env = process.env } = {},
) {
  return new Promise((resolve) => {
    const output = tee === undefined ? ["inherit", stdout, 2] : ["inherit", "pipe", "pipe"];
    const colors = tee !== undefined && process.stdout.isTTY ? { FORCE_COLOR: "1" } : {};
    const child = spawn(program, rest, { cwd: ROOT, env: { ...env, ...colors }, detached: group, stdio: output });
    const deadline = setDeadline(child, { deadlineMs, group });
    const ignore = handSignalsOn(child, group);
    for (const stream of ["stdout", "stderr"]) {
      child[stream]?.on("data", (bytes) => {
        tee?.(bytes);
        if (!quiet) process[stream].write(bytes);
      });
    }
    const finish = (code) => {
      deadline.clear();
      ignore();
      resolve(deadline.late ? null : code);
    };
    child.on("error", (error) => {
      console.error(`Cannot run ${program}: ${error.message}`);
      finish(127);
    });
    child.on("close", (code, kind) => finish(code ?? (kind === null ? 1 : 128)));
  });
}

/** First a signal that lets the program clean up, then one that does not ask, to all it started. */
function setDeadline(child, { deadlineMs, group }) {
  const state = { late: false, clear: () => undefined };
  if (deadlineMs === undefined) return state;
  const ask = () => {
    state.late = true;
    child.kill("SIGTERM");
  };
  const timers = [setTimeout(ask, deadlineMs), setTimeout(() => end(child, group), deadlineMs + CLEAN_UP_MS)];
  state.clear = () => timers.forEach((timer) => clearTimeout(timer));
  return state;
}

function end(child, group) {
  try {
    process.kill(group ? -child.pid : child.pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}

/** Returns the function that stops it. */
function handSignalsOn(child, group) {
  let lastMs = 0;
  const handOn = (kind) => {
    const nowMs = Date.now();
    if (nowMs - lastMs > SAME_KEY_MS) child.kill(kind);
    lastMs = nowMs;
  };
  // Without a group of its own it has had the terminal's Ctrl-C already; we only must not end before it.
  const onInterrupt = group ? handOn : () => undefined;
  process.on("SIGINT", onInterrupt);
  process.on("SIGTERM", handOn);
  return () => {
    process.off("SIGINT", onInterrupt);
    process.off("SIGTERM", handOn);
  };
}

function hasFiles(folder) {
  return listFiles(folder).some((path) => /\.tsx?$/.test(path));
}

function listFiles(folder) {
  const path = join(ROOT, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .flatMap((entry) => {
      const child = `${folder}/${entry.name}`;
      return entry.isDirectory() ? listFiles(child) : [child];
    })
    .toSorted();
}
