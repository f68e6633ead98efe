import { expect, test } from "bun:test";
import { AppError } from "../model/error.ts";
import { type ConfigFiles, resolveConnection } from "./connection.ts";

const PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const USER = "/home/me/.config/apollo/admin.json";
const SYSTEM = "/var/lib/apollo/admin.json";

function filesWith(files: Readonly<Record<string, unknown>>, mode = 0o100600): ConfigFiles {
  return {
    read: (path) => {
      const value = files[path];
      if (value === undefined) return null;
      return { text: typeof value === "string" ? value : JSON.stringify(value), mode };
    },
  };
}

function failure(body: () => unknown): { readonly code: string; readonly message: string; readonly hint: string } {
  try {
    body();
  } catch (error) {
    if (error instanceof AppError) return { code: error.code, message: error.message, hint: error.hint ?? "" };
    throw error;
  }
  throw new Error("It did not fail");
}

const config = (url: string) => ({ url, token: `token of ${url}`, ca: PEM });

test("resolveConnection() takes the user's file before the system's, and APOLLO_CONFIG before both", () => {
  const files = filesWith({
    [USER]: config("https://user:8443"),
    [SYSTEM]: config("https://system:8443"),
    "/x.json": config("https://named:8443"),
  });
  expect(resolveConnection({}, { HOME: "/home/me" }, files)).toEqual({
    url: "https://user:8443",
    token: "token of https://user:8443",
    ca: PEM,
    source: USER,
  });
  expect(resolveConnection({}, { HOME: "/root" }, files).source).toBe(SYSTEM);
  expect(resolveConnection({}, { HOME: "/home/me", APOLLO_CONFIG: "/x.json" }, files).url).toBe("https://named:8443");
});

test("resolveConnection() takes flags before the environment before the file", () => {
  const files = filesWith({ [SYSTEM]: config("https://file:8443"), "/ca.pem": PEM });
  const env = { APOLLO_SERVER: "https://env:8443", APOLLO_TOKEN: "env token" };
  expect(resolveConnection({}, env, files)).toEqual({
    url: "https://env:8443",
    token: "env token",
    ca: null,
    source: "APOLLO_SERVER",
  });
  expect(resolveConnection({ server: "https://flag:1/", token: "flag token", ca: "/ca.pem" }, env, files)).toEqual({
    url: "https://flag:1",
    token: "flag token",
    ca: PEM,
    source: "--server",
  });
  expect(resolveConnection({}, { APOLLO_TOKEN: "other" }, files)).toMatchObject({
    url: "https://file:8443",
    token: "other",
    ca: PEM,
  });
});

test("resolveConnection() never gives a file's token to another server", () => {
  const files = filesWith({ [SYSTEM]: config("https://file:8443") });
  expect(resolveConnection({ server: "https://other:8443" }, {}, files)).toMatchObject({ token: null, ca: null });
  expect(resolveConnection({ server: "https://file:8443/" }, {}, files)).toMatchObject({
    token: "token of https://file:8443",
    ca: PEM,
  });
});

test("resolveConnection() refuses a file that others can read", () => {
  const error = failure(() =>
    resolveConnection({}, {}, filesWith({ [SYSTEM]: config("https://file:8443") }, 0o100640)),
  );
  expect(error).toEqual({
    code: "denied",
    message: `Cannot use ${SYSTEM}: others can read it (mode 0640), and it has a token`,
    hint: `Run "chmod 600 ${SYSTEM}"`,
  });
});

test("resolveConnection() sends no token in the clear but to this machine", () => {
  const none = filesWith({});
  expect(failure(() => resolveConnection({ server: "http://10.0.0.1:80", token: "x" }, {}, none)).code).toBe("denied");
  expect(resolveConnection({ server: "http://127.0.0.1:8080", token: "x" }, {}, none).token).toBe("x");
  expect(resolveConnection({ server: "http://10.0.0.1:80" }, {}, none).token).toBeNull();
});

test("resolveConnection() says what is wrong with what it finds", () => {
  const cases: readonly (readonly [unknown, string])[] = [
    ["{", "it is not JSON"],
    ["[]", 'it has no "url"'],
    [{ url: 1 }, '"url" must be a text'],
    [{ url: "https://a", tokn: "" }, 'it has "tokn", and only url, token, ca are known'],
  ];
  for (const [content, message] of cases) {
    expect(failure(() => resolveConnection({}, {}, filesWith({ [SYSTEM]: content }))).message).toContain(message);
  }
  for (const server of ["server:8443", "ftp://a", "https://a/path", "https://user@a", ""]) {
    expect(failure(() => resolveConnection({ server }, {}, filesWith({}))).message).toContain(
      "Cannot use server address",
    );
  }
  expect(failure(() => resolveConnection({}, {}, filesWith({}))).hint).toContain("admin.json");
  expect(failure(() => resolveConnection({}, { APOLLO_CONFIG: "/none" }, filesWith({}))).message).toContain("/none");
  expect(failure(() => resolveConnection({ server: "https://a", ca: "/none" }, {}, filesWith({}))).message).toContain(
    "/none",
  );
});
