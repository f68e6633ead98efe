/** One small file that is replaced as a whole. */
export interface StateFile {
  /** For logs and errors. */
  readonly path: string;
  /** Null when there is none. @throws AppError `unavailable` when it cannot be read. */
  read(): Promise<string | null>;
  /** All or nothing, also when the power goes. @throws AppError `unavailable` when it cannot be written. */
  write(text: string): Promise<void>;
}
