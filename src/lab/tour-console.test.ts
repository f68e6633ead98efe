import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { CONSOLE_CHECK_VARIABLE, consoleCheckBy, parseSight, readConsoleCheck } from "./tour-console.ts";

const SIGHT = {
  hosts: 3,
  before: 2,
  after: 4,
  addresses: ["10.2.1.2:8080"],
  passing: 4,
  liveMs: 1,
  followedMs: 2,
  healthyMs: 3,
};
const TASK = {
  url: "https://127.0.0.1:1/ui/",
  token: "secret",
  app: "/web",
  scaleTo: 4,
  hosts: ["h1", "h2"],
  failureImage: "/tmp/none.png",
};

test("readConsoleCheck() takes a list of strings, and nothing for nothing", () => {
  expect(readConsoleCheck({})).toBeNull();
  expect(readConsoleCheck({ [CONSOLE_CHECK_VARIABLE]: "" })).toBeNull();
  expect(readConsoleCheck({ [CONSOLE_CHECK_VARIABLE]: '["bun", "check.ts"]' })).toBeFunction();
  for (const bad of ["bun check.ts", "[]", '["bun", 1]', '{"a":1}', '[""]']) {
    expect(() => readConsoleCheck({ [CONSOLE_CHECK_VARIABLE]: bad })).toThrow(CONSOLE_CHECK_VARIABLE);
  }
});

test("parseSight() reads the last line, and says what it got instead", () => {
  expect(parseSight(`starting\n${JSON.stringify(SIGHT)}\n`)).toEqual(SIGHT);
  expect(() => parseSight("no browser here")).toThrow("no browser here");
  expect(() => parseSight('{"hosts":"3"}')).toThrow("hosts");
  expect(() => parseSight("")).toThrow(AppError);
});

test("consoleCheckBy() hands words and token over, the token not as a word", async () => {
  const script = `
    if (Bun.argv.join(" ").includes("secret")) throw new Error("the token is among the words");
    if (process.env.APOLLO_TOKEN !== "secret") throw new Error("no token");
    console.log(JSON.stringify({ ...${JSON.stringify(SIGHT)}, addresses: Bun.argv.slice(Bun.argv.indexOf("--url")) }));`;
  const { addresses } = await consoleCheckBy([process.execPath, "-e", script, "--"])(TASK);
  const words = ["--url", TASK.url, "--app", "/web", "--scale-to", "4", "--hosts", "h1,h2"];
  expect(addresses).toEqual(words.concat("--failure-image", "/tmp/none.png"));
  const failing = consoleCheckBy([process.execPath, "-e", 'console.error("saw nothing"); process.exit(1)', "--"]);
  expect(await failing(TASK).catch(String)).toContain("saw nothing");
});
