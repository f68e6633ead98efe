import { describeError } from "../../model/error.ts";
import type { CheckAnswer, CheckRunLimits } from "../ports/check-runner.ts";
import type { Engine, ExecSession } from "../ports/engine.ts";
import { AppError } from "../../model/error.ts";
import { once } from "./once.ts";

/** Exit code 0 is passing, 1 a warning, all else critical: Nagios' rule, which Consul took over. */
function judge(code: number | null): CheckAnswer["status"] {
  if (code === 0) return "passing";
  return code === 1 ? "warning" : "critical";
}

/** The start of what a program writes. */
class Output {
  readonly #max: number;
  readonly #decoder = new TextDecoder();
  #text = "";

  constructor(max: number) {
    this.#max = max;
  }

  take(bytes: Uint8Array): void {
    if (this.#text.length < this.#max) this.#text += this.#decoder.decode(bytes, { stream: true });
  }

  read(): string {
    return this.#text.slice(0, this.#max);
  }
}

/**
 * Runs a program by its argv, never through a shell, in a process group of its own: at the time-out the whole group is ended,
 * so that a script's children do not gather.
 */
export function checkScript(argv: readonly string[], limits: CheckRunLimits): Promise<CheckAnswer> {
  return once(`Script ${argv[0] ?? ""}`, limits, (attempt) => {
    const output = new Output(limits.outputMax);
    try {
      const child = Bun.spawn([...argv], { stdin: "ignore", stdout: "pipe", stderr: "pipe", detached: true });
      attempt.onEnd(() => killGroup(child.pid));
      const reading = [child.stdout, child.stderr].map((stream) => drain(stream, output));
      child.exited.then(
        async (code) => {
          await Promise.race([Promise.all(reading), Bun.sleep(PIPES_CLOSE_MS)]);
          attempt.answer({ status: judge(code), output: output.read() });
        },
        (error: unknown) => attempt.fail("", error),
      );
    } catch (error) {
      attempt.fail("cannot start", error);
    }
  });
}

/** A child of the script may hold its pipes; what it writes later is not this run's. */
const PIPES_CLOSE_MS = 200;

async function drain(stream: ReadableStream<Uint8Array>, output: Output): Promise<void> {
  for await (const piece of stream) output.take(piece);
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    // The group has ended by itself, as it should.
    if (!(error instanceof Error) || !("code" in error) || error.code !== "ESRCH") throw error;
  }
}

/** Runs a command inside a container. Null while the engine is away: that says nothing about the container. */
export async function checkDocker(
  engine: Pick<Engine, "exec">,
  { container, argv }: { readonly container: string; readonly argv: readonly string[] },
  limits: CheckRunLimits,
): Promise<CheckAnswer | null> {
  let blind = false;
  const answer = await once(`Docker exec in ${container.slice(0, 12)}`, limits, (attempt) => {
    const output = new Output(limits.outputMax);
    const run = async (): Promise<void> => {
      const session: ExecSession = await engine.exec(container, { argv, tty: false, stdin: false }, (_, bytes) =>
        output.take(bytes),
      );
      attempt.onEnd(() => session.close());
      attempt.answer({ status: judge(await session.done), output: output.read() });
    };
    run().catch((error: unknown) => {
      blind = error instanceof AppError && error.code === "unavailable";
      attempt.fail("", error);
    });
  });
  return blind ? null : answer;
}

/** Whether the machine's init has the service running. */
export function checkOsService(name: string, limits: CheckRunLimits): Promise<CheckAnswer> {
  const what = `Service ${name}`;
  return once(what, limits, (attempt) => {
    try {
      const child = Bun.spawn(["systemctl", "is-active", "--", name], {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "ignore",
        // Else Bun looks for the program in the PATH that this process was started with.
        env: process.env,
      });
      attempt.onEnd(() => child.kill());
      new Response(child.stdout).text().then(
        (text) => {
          const state = text.trim() || "unknown";
          attempt.answer({ status: judgeService(state), output: `${what} is ${state}` });
        },
        (error: unknown) => attempt.fail("", error),
      );
    } catch (error) {
      attempt.fail("", new Error(`this machine has no systemd: ${describeError(error)}`));
    }
  });
}

function judgeService(state: string): CheckAnswer["status"] {
  if (state === "active") return "passing";
  return state === "reloading" || state === "activating" ? "warning" : "critical";
}
