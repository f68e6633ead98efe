import { createSocket } from "node:dgram";
import { connect as connectPlain, isIPv6 } from "node:net";
import { connect as connectSecure, type ConnectionOptions } from "node:tls";
import type { CheckAnswer, CheckRunLimits, CheckTarget, CheckTls } from "../ports/check-runner.ts";
import { once } from "./once.ts";

/** Passing as soon as the connection stands, with TLS as soon as the certificate was taken. */
export function checkTcp(target: CheckTarget & { kind: "tcp" }, limits: CheckRunLimits): Promise<CheckAnswer> {
  const { host, port, tls } = target;
  const what = `TCP connect ${placeOf(host, port)}`;
  return once(what, limits, (attempt) => {
    const done = (): void => attempt.answer({ status: "passing", output: `${what}: Success` });
    const socket =
      tls === null ? connectPlain({ host, port }, done) : connectSecure({ host, port, ...tlsOptions(host, tls) }, done);
    attempt.onEnd(() => socket.destroy());
    socket.on("error", (error) => attempt.fail("", error));
    socket.on("close", () => attempt.fail("", new Error("the connection was closed")));
  });
}

/** A datagram is sent. An answer is passing, and so is silence: only the kernel's word that nobody listens is bad. */
export function checkUdp(target: CheckTarget & { kind: "udp" }, limits: CheckRunLimits): Promise<CheckAnswer> {
  const { host, port } = target;
  const what = `UDP connect ${placeOf(host, port)}`;
  const passing: CheckAnswer = { status: "passing", output: `${what}: Success` };
  // The time-out is the good end here, so it has to come before that of the attempt.
  return once(what, { ...limits, timeoutMs: limits.timeoutMs + 1000 }, (attempt) => {
    const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
    const silence = setTimeout(() => attempt.answer(passing), limits.timeoutMs);
    attempt.onEnd(() => {
      clearTimeout(silence);
      socket.close();
    });
    socket.on("error", (error) => attempt.fail("", error));
    socket.on("message", () => attempt.answer(passing));
    socket.connect(port, host, (error?: Error) => {
      if (error !== undefined && error !== null) attempt.fail("", error);
      else socket.send(PROBE, (sendError) => (sendError === null ? undefined : attempt.fail("", sendError)));
    });
  });
}

/** As Consul sends it. */
const PROBE = "probe";

export function placeOf(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

export function tlsOptions(host: string, { serverName, skipVerify }: CheckTls): ConnectionOptions {
  const name = serverName === "" ? host : serverName;
  // An address is no server name (RFC 6066).
  const servername = /^[\d.]+$/.test(name) || name.includes(":") ? {} : { servername: name };
  return { rejectUnauthorized: !skipVerify, ...servername };
}
