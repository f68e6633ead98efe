import { AppError } from "../../model/error.ts";
import type { WireguardDevice, WireguardPeer } from "../ports/host-network.ts";

/** A device with more peers is not ours; each takes a line. */
const LINES_MAX = 200_000;
const KEY = /^[A-Za-z0-9+/]{43}=$/;

/**
 * Reads `wg show DEVICE dump`: a line for the device, then one a peer, fields separated by tabs (wg(8), "show"). The first
 * field of the first line is the private key, which is not kept.
 * @throws AppError `internal` for anything else.
 */
export function parseWgDump(text: string, nowMs: number): WireguardDevice {
  const [first, ...rest] = text.split("\n").filter((line) => line !== "");
  const fields = first?.split("\t") ?? [];
  const [, publicKey, port] = fields;
  if (fields.length !== 4 || rest.length > LINES_MAX) throw unreadable("device");
  return {
    publicKey: publicKey === "(none)" ? null : key(publicKey),
    port: number(port),
    peers: rest.map((line) => parsePeer(line, nowMs)),
  };
}

function parsePeer(line: string, nowMs: number): WireguardPeer {
  const fields = line.split("\t");
  if (fields.length !== 8) throw unreadable("peer");
  const [publicKey, , endpoint, allowedIps, handshake, received, sent, keepalive] = fields;
  const shakenAtSec = number(handshake);
  return {
    publicKey: key(publicKey),
    endpoint: endpoint === undefined || endpoint === "(none)" ? null : endpoint,
    allowedIps: allowedIps === undefined || allowedIps === "(none)" ? [] : allowedIps.split(","),
    // Whole seconds, and clocks are set: never from the future.
    handshakeAgeMs: shakenAtSec === 0 ? null : Math.max(0, nowMs - shakenAtSec * 1000),
    receivedBytes: number(received),
    sentBytes: number(sent),
    keepaliveSec: keepalive === "off" ? 0 : number(keepalive),
  };
}

function key(text: string | undefined): string {
  if (text === undefined || !KEY.test(text)) throw unreadable("key");
  return text;
}

function number(text: string | undefined): number {
  if (text === undefined || !/^\d{1,16}$/.test(text)) throw unreadable("number");
  return Number(text);
}

/** Without the text itself, which may hold a private key. */
function unreadable(what: string): AppError {
  return new AppError("internal", `Cannot read what wg shows: no ${what} where one should be`, {
    hint: "Report this with the version of wireguard-tools: wg --version",
  });
}
