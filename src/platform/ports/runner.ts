export interface RunOptions {
  readonly stdin?: string;
  /** Default 10 s; the process is killed when it runs out. */
  readonly timeoutMs?: number;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Exit codes that do not throw; default [0]. */
  readonly okCodes?: readonly number[];
}

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs programs by argv, never through a shell, with LC_ALL=C. */
export interface Runner {
  /** @throws AppError `unavailable` with argv and stderr when it cannot start, times out or exits with another code. */
  run(argv: readonly string[], options?: RunOptions): Promise<RunResult>;
}

/** Also follows programs that report until they are stopped. */
export interface LineRunner extends Runner {
  /**
   * Calls `onLine` for each line of standard output until the program ends or `signal` aborts, which ends it.
   * @returns its exit code, null after an abort. @throws AppError `unavailable` when it cannot start.
   */
  follow(argv: readonly string[], onLine: (line: string) => void, signal: AbortSignal): Promise<number | null>;
}
