import { expect, test } from "bun:test";

test("pinoLog() writes one JSON line an event to standard error, with fields and the error's message", async () => {
  const script = `
    const { pinoLog } = await import(${JSON.stringify(import.meta.resolve("./pino-log.ts"))});
    const log = pinoLog({ name: "agent", level: "info" });
    log.debug("hidden");
    log.warn("Cannot pull", { image: "web:1", error: new Error("no route") });
  `;
  const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  expect(stdout).toBe("");
  const lines = stderr
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({ level: 40, name: "agent", msg: "Cannot pull", image: "web:1" });
  expect(lines[0]?.["error"]).toMatchObject({ message: "no route" });
});
