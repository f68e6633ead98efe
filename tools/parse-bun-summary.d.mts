export declare function parseBunSummary(output: string): {
  readonly passed: number;
  readonly failed: number;
  readonly complete: boolean;
};

export declare function parseBunFailures(output: string): {
  readonly file: string;
  readonly test: string;
  readonly error: string;
}[];
