/** Chance, injected so that a run can be repeated from its seed. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  uuid(): string;
  /** `bytes` random bytes as base64url; cryptographically strong in the real adapter. */
  secret(bytes: number): string;
}
