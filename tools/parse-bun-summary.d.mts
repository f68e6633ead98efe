export declare function parseBunSummary(output: string): {
  readonly passed: number;
  readonly failed: number;
  readonly complete: boolean;
};
