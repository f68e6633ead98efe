import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../../model/error.ts";
import { parseWgDump } from "./parse-wg-dump.ts";

const KEY = "hGuwjM0g+ng0/M31ITs1IKF05xW1kouH94GSl9AfIVE=";
const SECRET = "MDxHXmsfJ7TaKxbkKyHUYDBN/LWlECw/8ApV5jcnfmA=";
const OTHER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const NOW_MS = 1_700_000_100_000;

test("parseWgDump() reads device and peers, and keeps no private key", () => {
  const text = [
    `${SECRET}\t${KEY}\t6785\toff`,
    `${OTHER}\t(none)\t192.0.2.2:6785\t10.2.2.0/24,10.2.9.0/24\t1700000000\t148\t92\t25`,
    `${KEY}\t${SECRET}\t(none)\t(none)\t0\t0\t0\toff`,
    `${KEY}\t(none)\t[2001:db8::1]:6785\t10.2.7.0/24\t1700000200\t0\t0\toff`,
    "",
  ].join("\n");
  const device = parseWgDump(text, NOW_MS);
  expect(device).toEqual({
    publicKey: KEY,
    port: 6785,
    peers: [
      {
        publicKey: OTHER,
        endpoint: "192.0.2.2:6785",
        allowedIps: ["10.2.2.0/24", "10.2.9.0/24"],
        handshakeAgeMs: 100_000,
        receivedBytes: 148,
        sentBytes: 92,
        keepaliveSec: 25,
      },
      {
        publicKey: KEY,
        endpoint: null,
        allowedIps: [],
        handshakeAgeMs: null,
        receivedBytes: 0,
        sentBytes: 0,
        keepaliveSec: 0,
      },
      {
        publicKey: KEY,
        endpoint: "[2001:db8::1]:6785",
        allowedIps: ["10.2.7.0/24"],
        // The clock was set back since.
        handshakeAgeMs: 0,
        receivedBytes: 0,
        sentBytes: 0,
        keepaliveSec: 0,
      },
    ],
  });
  expect(JSON.stringify(device)).not.toContain(SECRET);
  expect(parseWgDump("(none)\t(none)\t0\toff\n", NOW_MS)).toEqual({ publicKey: null, port: 0, peers: [] });
});

test("parseWgDump() gives a value or an AppError that does not repeat what it read", () => {
  const field = fc.oneof(fc.constantFrom(SECRET, KEY, "(none)", "off", "6785", "1", ""), fc.string());
  const dump = fc
    .array(fc.array(field, { maxLength: 10 }).map((fields) => fields.join("\t")))
    .map((lines) => lines.join("\n"));
  fc.assert(
    fc.property(fc.oneof(dump, fc.string()), (text) => {
      try {
        parseWgDump(text, NOW_MS);
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        expect(error.message).not.toContain(SECRET);
      }
    }),
  );
});
