/** Hashes, injected because pure rooms have no access to a runtime's cryptography. */
export interface Digest {
  /** SHA-256 of the UTF-8 text or bytes, lower-case hex. */
  sha256(data: string | Uint8Array): string;
  /** HMAC-SHA-256, lower-case hex. */
  hmac(key: string, text: string): string;
}
