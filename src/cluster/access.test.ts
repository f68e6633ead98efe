import { expect, test } from "bun:test";
import fc from "fast-check";
import { AppError } from "../model/error.ts";
import type { HostId } from "../model/ids.ts";
import { nodeDigest } from "../platform/digest/node-digest.ts";
import { AccessControl, isFromThisMachine, type Verb } from "./access.ts";
import { accessRequestOf, type AccessRequest } from "./credentials.ts";
import { equalsConstantTime, formatJoinToken, matchesHash, newSecret, parseJoinToken } from "./tokens.ts";

const ADMIN = "admin-token-admin-token-admin-token";
const JOIN = "join-secret-join-secret";
const HOST = "host-credential-host-credential";
let now = 1_000_000;

function control(anonymous: boolean, adminToken = ADMIN): AccessControl {
  const rules = {
    adminTokenHash: nodeDigest.sha256(adminToken),
    joinSecretHash: nodeDigest.sha256(JOIN),
    sessionKey: "key",
    anonymous,
    hostByCredential: (hash: string) => (hash === nodeDigest.sha256(HOST) ? ("h-1" as HostId) : null),
  };
  return new AccessControl(rules, nodeDigest, () => now);
}

function requestWith(headers: Readonly<Record<string, string>>, loopback = false): AccessRequest {
  return accessRequestOf({
    header: (name) => headers[name] ?? null,
    peer: { address: loopback ? "127.0.0.1" : "192.0.2.9", loopback, secure: true },
  });
}

function outcome(access: AccessControl, request: AccessRequest, verb: Verb): string {
  try {
    return access.authorize(request, { verb, resource: "apps" }).kind;
  } catch (error) {
    return error instanceof AppError
      ? `${error.code} ${String(error.details["status"])}`
      : `programmer error ${String(error)}`;
  }
}

const VERBS: readonly Verb[] = ["read", "write", "admin", "join", "agent"];
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

test.each([
  ["admin token", bearer(ADMIN), ["admin", "admin", "admin", "admin", "denied 403"]],
  ["join secret", bearer(JOIN), ["denied 403", "denied 403", "denied 403", "joiner", "denied 403"]],
  [
    "whole join token",
    bearer(`apollo1.${"a".repeat(43)}.${JOIN}`),
    ["denied 403", "denied 403", "denied 403", "joiner", "denied 403"],
  ],
  ["host credential", bearer(HOST), ["denied 403", "denied 403", "denied 403", "denied 403", "host"]],
  ["nothing", {}, Array(5).fill("denied 401")],
  ["another token", bearer("guess"), Array(5).fill("denied 401")],
  ["empty bearer", { authorization: "Bearer " }, Array(5).fill("denied 401")],
  ["the hash itself", bearer(nodeDigest.sha256(ADMIN)), Array(5).fill("denied 401")],
])("authorize() from the network with %s", (_, headers, expected) => {
  const access = control(true);
  expect(VERBS.map((verb) => outcome(access, requestWith(headers as Record<string, string>), verb))).toEqual(
    expected as string[],
  );
});

test.each([
  ["basic, any user", { authorization: `Basic ${btoa(`marathon:${ADMIN}`)}` }, "admin"],
  ["basic, no user", { authorization: `basic ${btoa(`:${ADMIN}`)}` }, "admin"],
  ["basic, password with colons", { authorization: `Basic ${btoa(`u:${ADMIN}:x`)}` }, "denied 401"],
  ["basic, not base64", { authorization: "Basic !!!" }, "denied 401"],
  ["basic, not UTF-8", { authorization: `Basic ${btoa("\u00ff:\u00fe")}` }, "denied 401"],
  ["basic without colon", { authorization: `Basic ${btoa(ADMIN)}` }, "denied 401"],
  ["DC/OS form", { authorization: `token=${ADMIN}` }, "admin"],
  ["Consul header", { "x-consul-token": ADMIN }, "admin"],
  [
    "a wrong Authorization is not mended by a right Consul header",
    { ...bearer("x"), "x-consul-token": ADMIN },
    "denied 401",
  ],
  ["unknown scheme", { authorization: `Digest ${ADMIN}` }, "denied 401"],
])("credentials: %s", (_, headers, expected) => {
  expect(outcome(control(false), requestWith(headers as Record<string, string>), "write")).toBe(expected);
});

test("anonymous needs the flag, loopback, and a page of our own if it comes from a page", () => {
  const local = (headers: Record<string, string>) => outcome(control(true), requestWith(headers, true), "write");
  expect(outcome(control(false), requestWith({}, true), "read")).toBe("denied 401");
  expect(outcome(control(true), requestWith({}, false), "read")).toBe("denied 401");
  expect(VERBS.map((verb) => outcome(control(true), requestWith({}, true), verb))).toEqual([
    "anonymous",
    "anonymous",
    "anonymous",
    "denied 403",
    "denied 403",
  ]);
  expect(local({ host: "localhost:8080" })).toBe("anonymous");
  expect(local({ host: "127.0.0.1:8080", origin: "http://127.0.0.1:8080" })).toBe("anonymous");
  expect(local({ host: "127.0.0.1:8080", origin: "https://evil.example" })).toBe("denied 403");
  expect(local({ host: "rebound.evil.example:8080" })).toBe("denied 401");
  expect(local({ host: "rebound.evil.example", origin: "http://rebound.evil.example" })).toBe("denied 401");
  expect(local({ host: "localhost", origin: "null" })).toBe("denied 403");
  expect(local({ host: "localhost", ...bearer("wrong") })).toBe("denied 401");
});

test("a client here may ask by any name that no page of the Internet has, a browser by loopback's alone", () => {
  const asks = (headers: Readonly<Record<string, string>>, loopback = true): boolean =>
    isFromThisMachine(requestWith(headers, loopback));
  const inner = [
    "consul",
    "consul:8500",
    "n1.node.consul:8500",
    "host.docker.internal",
    "192.0.2.2:8500",
    "[fd00::1]:8500",
  ];
  const names = [...inner, "localhost:8500", "127.0.0.1", "[::1]:8500"];
  expect(names.filter((host) => !asks({ host }))).toEqual([]);
  expect(names.filter((host) => asks({ host }, false))).toEqual([]);
  const outer = [
    "evil.example",
    "consul.evil.example:8500",
    "consul.",
    "192.0.2.2.evil.example",
    "evil.example/consul",
    "",
  ];
  expect(outer.filter((host) => asks({ host }))).toEqual([]);
  for (const header of ["accept-language", "sec-fetch-site", "origin"])
    expect(inner.filter((host) => asks({ host, [header]: `http://${host}` }))).toEqual([]);
  expect(asks({ host: "localhost:8500", "accept-language": "de" })).toBe(true);
});

test("sessions: opened by the admin token alone, end by time, by a new token and by any change", () => {
  const access = control(false);
  const { value, maxAgeS } = access.openSession(ADMIN);
  const withCookie = (cookie: string, headers: Record<string, string> = {}) =>
    requestWith({
      cookie: `other=1; apollo_session=${cookie}`,
      host: "apollo:8443",
      "x-apollo-console": "1",
      ...headers,
    });
  expect(outcome(access, withCookie(value), "write")).toBe("admin");
  expect(outcome(access, withCookie(value, { origin: "https://apollo:8443" }), "write")).toBe("admin");
  expect(outcome(access, withCookie(value, { origin: "https://apollo:9000" }), "write")).toBe("denied 403");
  expect(outcome(access, withCookie(`9${value}`), "write")).toBe("denied 401");
  expect(outcome(access, withCookie(`${value}0`), "write")).toBe("denied 401");
  expect(outcome(access, withCookie(value.replace(".", "")), "write")).toBe("denied 401");
  expect(outcome(access, withCookie(ADMIN), "write")).toBe("denied 401");
  expect(outcome(control(false, "new-admin-token"), withCookie(value), "write")).toBe("denied 401");
  // The cookie is no secret of its own: in the Authorization header it opens nothing.
  expect(outcome(access, requestWith(bearer(value)), "read")).toBe("denied 401");
  now += maxAgeS * 1000 + 1;
  expect(outcome(access, withCookie(value), "write")).toBe("denied 401");
  expect(() => access.openSession(JOIN)).toThrow(AppError);
  expect(() => access.openSession("")).toThrow(AppError);
});

test("the console's cookie alone reads; to change things its header must come with it, or the origin of a WebSocket", () => {
  const access = control(false);
  const { value } = access.openSession(ADMIN);
  const verbs = (headers: Record<string, string>, cookie = value) =>
    VERBS.slice(0, 3).map((verb) =>
      outcome(access, requestWith({ cookie: `apollo_session=${cookie}`, host: "apollo:8443", ...headers }), verb),
    );
  const readOnly = ["admin", "denied 403", "denied 403"];
  const all = ["admin", "admin", "admin"];
  const own = { origin: "https://apollo:8443" };
  const foreign = { origin: "https://evil.example" };
  const console = { "x-apollo-console": "1" };
  expect(verbs({})).toEqual(readOnly);
  expect(verbs(own)).toEqual(readOnly);
  expect(verbs({ ...own, "x-apollo-console": "0" })).toEqual(readOnly);
  expect(verbs(console)).toEqual(all);
  expect(verbs({ ...own, ...console })).toEqual(all);
  expect(verbs({ ...foreign, ...console })).toEqual(Array(3).fill("denied 403"));
  expect(verbs({ ...own, upgrade: "WebSocket" })).toEqual(all);
  expect(verbs({ upgrade: "websocket" })).toEqual(readOnly);
  expect(verbs({ ...foreign, upgrade: "websocket" })).toEqual(Array(3).fill("denied 403"));
  // Not known who asks comes before what they may.
  expect(verbs({ ...own, upgrade: "websocket" }, `9${value}`)).toEqual(Array(3).fill("denied 401"));
  expect(verbs({}, "")).toEqual(Array(3).fill("denied 401"));
});

test("authorize() gives a principal or `denied` for any headers", () => {
  const text = fc.string({ unit: "binary" });
  const headers = fc.record(
    {
      authorization: text,
      cookie: text,
      origin: text,
      host: text,
      "x-consul-token": text,
      upgrade: text,
      "x-apollo-console": text,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(headers, fc.boolean(), fc.constantFrom(...VERBS), (given, loopback, verb) => {
      expect(outcome(control(true), requestWith(given as Record<string, string>, loopback), verb)).toMatch(
        /^(anonymous|denied 40[13])$/,
      );
    }),
  );
});

test("join tokens round trip; anything else is `invalid` and is not repeated", () => {
  const token = {
    caFingerprint: "A-_".padEnd(43, "x"),
    secret: newSecret({ next: () => 0, uuid: () => "", secret: (n) => "s".repeat(n) }),
  };
  expect(parseJoinToken(` ${formatJoinToken(token)}\n`)).toEqual(token);
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.tuple(fc.string(), fc.string()).map(([a, b]) => `apollo1.${a}.${b}`),
      ),
      (text) => {
        try {
          parseJoinToken(text);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
          if (text.length > 12) expect((error as AppError).message).not.toContain(text);
        }
      },
    ),
  );
});

test("equalsConstantTime() agrees with ===", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (a, b) => equalsConstantTime(a, b) === (a === b) && equalsConstantTime(a, a)),
  );
  expect(matchesHash(nodeDigest, "x", nodeDigest.sha256("x"))).toBe(true);
  expect(matchesHash(nodeDigest, "x", "")).toBe(false);
});
