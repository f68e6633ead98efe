import { AppError } from "../model/error.ts";

/** How to reach the server, and where each part was found, for messages. */
export interface Connection {
  /** Origin, without a slash at the end. */
  readonly url: string;
  readonly token: string | null;
  /** PEM of the CA that signed the server's certificate; null trusts the system's. */
  readonly ca: string | null;
  readonly source: string;
}

export interface ConnectionFlags {
  readonly server?: string;
  readonly token?: string;
  readonly ca?: string;
}

/** The little of the file system that is needed here. */
export interface ConfigFiles {
  /** Null when there is no such file. @throws AppError when it cannot be read. */
  read(path: string): { readonly text: string; readonly mode: number } | null;
}

type Environment = Readonly<Record<string, string | undefined>>;

const SYSTEM_FILE = "/var/lib/apollo/admin.json";
const KEYS = ["url", "token", "ca"];

/**
 * Settles where the server is: flags before environment before file. A file's token and CA are for the server that
 * the file names: with another URL by flag or environment they are not used, so that no token goes astray.
 *
 * @throws AppError `invalid` when nothing says where the server is or a value cannot be used, `denied` when a file with
 * a token can be read by others.
 */
export function resolveConnection(flags: ConnectionFlags, env: Environment, files: ConfigFiles): Connection {
  const givenUrl = flags.server ?? nonEmpty(env["APOLLO_SERVER"]);
  const givenToken = flags.token ?? nonEmpty(env["APOLLO_TOKEN"]);
  const file = findFile(env, files);
  const url = givenUrl ?? file?.url;
  if (url === undefined) throw noServer();
  const origin = parseServerUrl(url, flags.server !== undefined ? "--server" : "APOLLO_SERVER or the config file");
  const fits = file !== null && (givenUrl === undefined || parseServerUrl(file.url, file.path) === origin);
  const token = givenToken ?? (fits ? file.token : null);
  const ca = flags.ca !== undefined ? readCa(flags.ca, files) : fits ? file.ca : null;
  if (token !== null && origin.startsWith("http:") && !isLoopback(origin)) {
    throw new AppError("denied", `Cannot use ${origin}: the token would cross the network in the clear`, {
      hint: "Use the https:// address of the server",
    });
  }
  return {
    url: origin,
    token,
    ca,
    source: givenUrl === undefined ? (file?.path ?? "") : flags.server === undefined ? "APOLLO_SERVER" : "--server",
  };
}

function noServer(): AppError {
  return new AppError(
    "invalid",
    "Cannot tell which server to ask: there is no --server, APOLLO_SERVER or config file",
    {
      hint: `Run this on the server as root, or copy its ${SYSTEM_FILE} to ~/.config/apollo/admin.json (mode 0600)`,
    },
  );
}

interface FoundFile {
  readonly path: string;
  readonly url: string;
  readonly token: string | null;
  readonly ca: string | null;
}

/** A file named by APOLLO_CONFIG must be there; the others may. */
function findFile(env: Environment, files: ConfigFiles): FoundFile | null {
  const named = nonEmpty(env["APOLLO_CONFIG"]);
  const home = nonEmpty(env["HOME"]);
  const user = nonEmpty(env["XDG_CONFIG_HOME"]) ?? (home === undefined ? undefined : `${home}/.config`);
  const paths =
    named !== undefined ? [named] : [...(user === undefined ? [] : [`${user}/apollo/admin.json`]), SYSTEM_FILE];
  for (const path of paths) {
    const file = files.read(path);
    if (file !== null) return parseConfigFile(path, file.text, file.mode);
  }
  if (named === undefined) return null;
  throw new AppError("invalid", `Cannot read ${named}: it does not exist`, {
    hint: "Correct APOLLO_CONFIG, or unset it",
  });
}

/** Reads an admin.json: `{"url", "token", "ca"}`, `ca` as PEM text. */
export function parseConfigFile(path: string, text: string, mode: number): FoundFile {
  if ((mode & 0o077) !== 0) {
    throw new AppError(
      "denied",
      `Cannot use ${path}: others can read it (mode ${(mode & 0o777).toString(8).padStart(4, "0")}), and it has a token`,
      {
        hint: `Run "chmod 600 ${path}"`,
      },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new AppError("invalid", `Cannot read ${path}: it is not JSON`, { cause });
  }
  const fields =
    typeof value === "object" && value !== null ? new Map<string, unknown>(Object.entries(value)) : new Map();
  const unknown = [...fields.keys()].find((key) => !KEYS.includes(String(key)));
  if (unknown !== undefined) {
    throw new AppError(
      "invalid",
      `Cannot read ${path}: it has "${String(unknown)}", and only ${KEYS.join(", ")} are known`,
    );
  }
  const read = (key: string): string | null => {
    const field: unknown = fields.get(key);
    if (field === undefined || field === null) return null;
    if (typeof field !== "string") throw new AppError("invalid", `Cannot read ${path}: "${key}" must be a text`);
    return field;
  };
  const url = read("url");
  if (url === null) throw new AppError("invalid", `Cannot read ${path}: it has no "url"`);
  return { path, url, token: read("token"), ca: read("ca") };
}

function parseServerUrl(text: string, source: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (
    url === null ||
    !["https:", "http:"].includes(url.protocol) ||
    url.pathname !== "/" ||
    url.search !== "" ||
    url.username !== ""
  ) {
    throw new AppError("invalid", `Cannot use server address "${text}" of ${source}`, {
      hint: "It must look like https://10.0.0.1:8443",
    });
  }
  return url.origin;
}

function isLoopback(origin: string): boolean {
  const { hostname } = new URL(origin);
  return hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
}

function readCa(path: string, files: ConfigFiles): string {
  const file = files.read(path);
  if (file === null) throw new AppError("invalid", `Cannot read ${path}: it does not exist`, { hint: "Correct --ca" });
  if (!file.text.includes("-----BEGIN CERTIFICATE-----")) {
    throw new AppError("invalid", `Cannot use ${path} as a CA: it has no PEM certificate`);
  }
  return file.text;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
