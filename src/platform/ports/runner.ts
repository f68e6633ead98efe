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
