import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseProcSockets } from "./parse-proc-sockets.ts";

const HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const REST = "00000000:00000000 00:00000000 00000000     0        0 1 1 0000000000000000 100 0 0 10 0\n";

test("parseProcSockets() gives the sockets that wait, of both families, each once", () => {
  const tcp = [
    `   0: 0100007F:1538 00000000:0000 0A ${REST}`,
    `   1: 00000000:0050 00000000:0000 0A ${REST}`,
    // A connection, and not somebody who waits.
    `   2: 0702020A:0050 0501020A:C350 01 ${REST}`,
  ].join("");
  const tcp6 = [
    `   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A ${REST}`,
    `   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A ${REST}`,
    `   2: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A ${REST}`,
    `   3: B80D0120000000000000000001000000:0052 00000000000000000000000000000000:0000 0A ${REST}`,
  ].join("");
  expect(parseProcSockets(HEAD + tcp + HEAD + tcp6, "tcp")).toEqual([
    { address: "0.0.0.0", port: 80 },
    { address: "::", port: 80 },
    { address: "::1", port: 81 },
    { address: "2001:db8::1", port: 82 },
    { address: "127.0.0.1", port: 5432 },
    { address: "127.0.0.1", port: 8080 },
  ]);
});

test("parseProcSockets() knows UDP's own state for a socket without a peer", () => {
  const udp = `  77: 00000000:0035 00000000:0000 07 ${REST}`;
  expect(parseProcSockets(HEAD + udp, "udp")).toEqual([{ address: "0.0.0.0", port: 53 }]);
  expect(parseProcSockets(HEAD + udp, "tcp")).toEqual([]);
});

test("parseProcSockets() gives a list for any text", () => {
  fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseProcSockets(text, "tcp"))));
});
