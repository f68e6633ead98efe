import {
  connect,
  constants,
  type ClientHttp2Session,
  type IncomingHttpHeaders,
  type SecureClientSessionOptions,
} from "node:http2";
import type { CheckAnswer, CheckRunLimits, CheckTarget, CheckTls } from "../ports/check-runner.ts";
import { type Attempt, once } from "./once.ts";
import { placeOf, tlsOptions } from "./socket-check.ts";

const HEALTH_PATH = "/grpc.health.v1.Health/Check";
const FRAME_BYTES_MAX = 4096;
/** Names of ServingStatus, by number. */
const SERVING: readonly string[] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/** Passing when the peer acknowledges a PING frame (RFC 9113 §6.7). */
export function checkH2ping(target: CheckTarget & { kind: "h2ping" }, limits: CheckRunLimits): Promise<CheckAnswer> {
  const what = `HTTP/2 ping ${placeOf(target.host, target.port)}`;
  return once(what, limits, (attempt) => {
    const session = open(target, target.tls, attempt);
    session.on("connect", () => {
      session.ping((error) => {
        if (error === null) attempt.answer({ status: "passing", output: `${what}: Success` });
        else attempt.fail("ping", error);
      });
    });
  });
}

/** gRPC's health protocol: `grpc.health.v1.Health/Check` must say SERVING. */
export function checkGrpc(target: CheckTarget & { kind: "grpc" }, limits: CheckRunLimits): Promise<CheckAnswer> {
  const { host, port, service, tls } = target;
  const what = `gRPC check ${placeOf(host, port)}${service === "" ? "" : `/${service}`}`;
  return once(what, limits, (attempt) => {
    const session = open(target, tls, attempt);
    const stream = session.request({
      ":method": "POST",
      ":path": HEALTH_PATH,
      "content-type": "application/grpc",
      "user-agent": "apollo-health-check",
      te: "trailers",
    });
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    let status = "";
    let message = "";
    let httpStatus = 0;
    const read = (headers: IncomingHttpHeaders): void => {
      httpStatus ||= Number(headers[":status"] ?? 0);
      status = textOf(headers["grpc-status"]) || status;
      message = textOf(headers["grpc-message"]) || message;
    };
    stream.on("response", read);
    stream.on("trailers", read);
    stream.on("data", (piece: Uint8Array) => {
      bytes += piece.length;
      if (bytes <= FRAME_BYTES_MAX) pieces.push(piece);
      else stream.close(constants.NGHTTP2_CANCEL);
    });
    stream.on("error", (error) => attempt.fail("", error));
    stream.on("close", () => {
      if (httpStatus !== 200) return attempt.fail("", new Error(`HTTP status ${httpStatus}`));
      if (status !== "0" && status !== "")
        return attempt.fail("", new Error(`gRPC status ${status} ${message}`.trim()));
      const serving = readServingStatus(Buffer.concat(pieces));
      if (serving === "SERVING") return attempt.answer({ status: "passing", output: `${what}: success` });
      attempt.fail("", new Error(serving === null ? "the answer cannot be read" : `the service is ${serving}`));
    });
    stream.end(renderRequest(service));
  });
}

function open(
  place: { readonly host: string; readonly port: number },
  tls: CheckTls | null,
  attempt: Attempt,
): ClientHttp2Session {
  const { host, port } = place;
  const authority = `${tls === null ? "http" : "https"}://${placeOf(host, port)}`;
  const options: SecureClientSessionOptions = tls === null ? {} : { ...tlsOptions(host, tls), ALPNProtocols: ["h2"] };
  const session = connect(authority, options);
  attempt.onEnd(() => session.destroy());
  session.on("error", (error) => attempt.fail("", error));
  session.on("close", () => attempt.fail("", new Error("the connection was closed")));
  return session;
}

function textOf(header: string | string[] | undefined): string {
  return Array.isArray(header) ? header.join(", ") : (header ?? "");
}

/** One gRPC message: no compression, four bytes of length, then `HealthCheckRequest { string service = 1 }`. */
function renderRequest(service: string): Buffer {
  const name = Buffer.from(service).subarray(0, 127);
  const body = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, name.length]), name]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/** `HealthCheckResponse { ServingStatus status = 1 }`; a missing field is its zero. Null for anything else. */
function readServingStatus(frame: Buffer): string | null {
  if (frame.length < 5 || frame[0] !== 0) return null;
  const body = frame.subarray(5, 5 + frame.readUInt32BE(1));
  if (body.length === 0) return SERVING[0] ?? null;
  if (body[0] !== 0x08 || body[1] === undefined) return null;
  return SERVING[body[1]] ?? null;
}
