import { writeFileSync, readFileSync } from "node:fs";
import type { z } from "zod";
import { AppError } from "../model/error.ts";
import { parseAdminConfig } from "./apollo-daemons.ts";
import type { AdminConfig } from "./apollo-daemons.ts";
import { labPaths } from "./lab-paths.ts";
import type { Lab } from "./lab.ts";
import { mustRun, runCommand } from "./run-command.ts";
import { SERVER_TLS_NAME } from "../model/server-name.ts";

export interface ApiAnswer {
  readonly status: number;
  /** Parsed JSON; null when the body is empty. */
  readonly body: unknown;
}

/** Who a request says it is. `basic` is what Marathon's clients send. */
export type ApiLogin = "bearer" | "basic" | "none";

/** Commands that change apps wait for the deployment. */
const CLI_TIMEOUT_MS = 120_000;
const API_TIMEOUT_S = 20;

/** Talks to a lab's server from the machine, by a person's two ways: the CLI, and HTTP (with curl, not with our own client). */
export class TourClient {
  readonly #lab: Lab;
  readonly #binary: string;
  readonly #admin: AdminConfig;
  readonly #caPath: string;

  constructor(lab: Lab, binary: string) {
    this.#lab = lab;
    this.#binary = binary;
    this.#admin = parseAdminConfig(readFileSync(lab.adminConfigPath, "utf8"));
    this.#caPath = `${labPaths(lab.name).dir}/ca.pem`;
    writeFileSync(this.#caPath, this.#admin.ca);
  }

  get url(): string {
    return this.#admin.url;
  }

  get token(): string {
    return this.#admin.token;
  }

  /** Runs `apollo …` as an administrator. Returns what it prints. @throws AppError with what it said. */
  cli(argv: readonly string[]): Promise<string> {
    return mustRun([this.#binary, ...argv], { env: this.#cliEnv(), timeoutMs: CLI_TIMEOUT_MS });
  }

  /** Runs `apollo … --json` and reads it. */
  async cliJson<T>(schema: z.ZodType<T>, argv: readonly string[]): Promise<T> {
    return readShape(
      schema,
      parseJson(await this.cli([...argv, "--json"]), `apollo ${argv.join(" ")}`),
      argv.join(" "),
    );
  }

  /** A command that must fail: its exit code and what it said. */
  async cliFailure(argv: readonly string[]): Promise<{ readonly code: number; readonly said: string }> {
    const { code, stderr } = await runCommand([this.#binary, ...argv], {
      env: this.#cliEnv(),
      timeoutMs: CLI_TIMEOUT_MS,
    });
    if (code === 0) throw new AppError("unavailable", `"apollo ${argv.join(" ")}" did not fail`);
    return { code, said: stderr.trim() };
  }

  #cliEnv(): Readonly<Record<string, string>> {
    const { PATH = "", HOME = "/root" } = process.env;
    return { PATH, HOME, APOLLO_CONFIG: this.#lab.adminConfigPath, NO_COLOR: "1" };
  }

  /** One HTTP request; any status is an answer. @throws AppError `unavailable` when there is none. */
  async request(
    method: string,
    path: string,
    options: { readonly body?: unknown; readonly login?: ApiLogin } = {},
  ): Promise<ApiAnswer> {
    const { status, text } = await this.#curl(method, path, options);
    return { status, body: text === "" ? null : parseJson(text, `${method} ${path}`) };
  }

  /** What a GET answers that is no JSON, whatever its status. */
  async text(path: string): Promise<string> {
    return (await this.#curl("GET", path, {})).text;
  }

  async #curl(
    method: string,
    path: string,
    options: { readonly body?: unknown; readonly login?: ApiLogin },
  ): Promise<{ readonly status: number; readonly text: string }> {
    const url = new URL(path, this.#admin.url);
    const to = `${SERVER_TLS_NAME}:${url.port}`;
    const argv = ["curl", "-sS", "-m", String(API_TIMEOUT_S), "-X", method, "--cacert", this.#caPath, "-K", "-"];
    // The certificate is for the server's name: curl asks for that name, at the loopback port that leads there.
    const where = ["--connect-to", `${to}:127.0.0.1:${url.port}`, `https://${to}${url.pathname}${url.search}`];
    const text = await mustRun([...argv, "-w", "\n%{http_code}", ...where], { stdin: this.#curlConfig(options) });
    const at = text.lastIndexOf("\n");
    return { status: Number(text.slice(at + 1)), text: text.slice(0, at).trim() };
  }

  /** GET that must be 200, in the shape asked for. */
  async get<T>(schema: z.ZodType<T>, path: string): Promise<T> {
    const { status, body } = await this.request("GET", path);
    if (status !== 200) throw new AppError("unavailable", `GET ${path} answers ${status}: ${JSON.stringify(body)}`);
    return readShape(schema, body, path);
  }

  /** Secrets and bodies go in by standard input: argv is everyone's to read. */
  #curlConfig({ body, login = "bearer" }: { readonly body?: unknown; readonly login?: ApiLogin }): string {
    const { token } = this.#admin;
    const lines = {
      bearer: [`header = "Authorization: Bearer ${token}"`],
      basic: [`user = "marathon:${token}"`],
      none: [],
    }[login];
    // JSON's escapes of a string are a subset of those that curl's configuration reads.
    const data =
      body === undefined
        ? []
        : ['header = "Content-Type: application/json"', `data-binary = ${JSON.stringify(JSON.stringify(body))}`];
    return `${[...lines, ...data].join("\n")}\n`;
  }
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError("unavailable", `${what} does not answer with JSON: ${text.slice(0, 200)}`, { cause });
  }
}

/** @throws AppError `unavailable` naming the field that is not as it must be. */
export function readShape<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new AppError("unavailable", `${what} has another shape: ${issue?.path.join(".")}: ${issue?.message}`);
}
