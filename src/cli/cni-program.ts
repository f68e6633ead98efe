import { statSync } from "node:fs";
import { ProcessRunner } from "../platform/linux/process-runner.ts";
import { askLocalAgent } from "./ask-local-agent.ts";
import type { CniSurroundings } from "./run-cni.ts";
import { runCni } from "./run-cni.ts";

/** Configurations are a few kilobytes; GC's have a line a container. */
const STDIN_BYTES_MAX = 4 * 1024 * 1024;
/** A runtime holds its own locks while it waits. */
const AGENT_MS_MAX = 10_000;

/** One call of `apollo-cni`; resolves with the exit code. */
export async function runCniProgram(context: CniSurroundings): Promise<number> {
  const { stdout, code } = await runCni({
    env: context.env,
    stdin: () => readAll(context.stdin()),
    ask: (question) => askLocalAgent(context, question, AGENT_MS_MAX),
    runner: new ProcessRunner(),
    isFile,
  });
  context.stdout.write(stdout);
  return code;
}

async function readAll(stream: AsyncIterable<unknown>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk as Uint8Array);
    size += bytes.length;
    // Cut JSON is refused by whoever parses it.
    if (size > STDIN_BYTES_MAX) break;
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
