/** Message authentication code of `bytes` under a key that the maker of the function holds: HMAC-SHA-256, 32 bytes (RFC 2104). */
export type Mac = (bytes: Uint8Array) => Uint8Array;
