/** Watches of a configuration file, as Consul's agent has them: what is looked at, and what is called when it changed. */
import { z } from "zod";
import { AppError } from "../model/error.ts";
import { parseDuration } from "../discovery/registry/parse-duration.ts";

export type WatchHandler =
  | { readonly kind: "script"; readonly argv: readonly string[] }
  | {
      readonly kind: "http";
      readonly url: string;
      readonly method: string;
      readonly headers: Readonly<Record<string, readonly string[]>>;
      readonly timeoutMs: number;
      readonly skipVerify: boolean;
    };

export interface Watch {
  /** For the log. */
  readonly name: string;
  /** Below `/v1/`, with its query but for index and wait. */
  readonly target: string;
  /** `one`: the handler gets the only element of the list; `events`: those it has not seen. */
  readonly shape: "as-is" | "one" | "events";
  readonly token: string | null;
  readonly handler: WatchHandler;
}

const HTTP_TIMEOUT_MS = 10_000;

const text = z.string().min(1).max(4096);
const httpHandler = z.strictObject({
  path: z.url({ protocol: /^https?$/ }),
  method: text.default("POST"),
  header: z.record(text, z.union([text, z.array(text)])).default({}),
  timeout: text.optional(),
  tls_skip_verify: z.boolean().default(false),
});
const common = z.strictObject({
  type: z.enum(["key", "keyprefix", "services", "nodes", "service", "checks", "event"]),
  handler_type: z.enum(["script", "http"]).default("script"),
  args: z.array(text).min(1).max(256).optional(),
  http_handler_config: httpHandler.optional(),
  token: text.optional(),
  datacenter: text.optional(),
  key: text.optional(),
  prefix: z.string().max(4096).optional(),
  service: text.optional(),
  tag: z.union([text, z.array(text)]).optional(),
  passingonly: z.boolean().default(false),
  state: text.optional(),
  name: text.optional(),
});

type WatchJson = z.infer<typeof common>;

/** @throws AppError `invalid` that says what is wrong with it. */
export function parseWatch(definition: unknown): Watch {
  const parsed = common.safeParse(definition);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw refused(issue === undefined ? "it cannot be read" : [...issue.path, issue.message].join(" "));
  }
  const json = parsed.data;
  const query = new URLSearchParams(json.datacenter === undefined ? {} : { dc: json.datacenter });
  const path = pathOf(json, query);
  const search = query.toString();
  return {
    name: `${json.type} ${json.key ?? json.prefix ?? json.service ?? json.state ?? json.name ?? ""}`.trim(),
    target: search === "" ? path : `${path}?${search}`,
    shape: json.type === "key" ? "one" : json.type === "event" ? "events" : "as-is",
    token: json.token ?? null,
    handler: handlerOf(json),
  };
}

function pathOf(json: WatchJson, query: URLSearchParams): string {
  const need = (name: "key" | "prefix" | "service"): string => {
    const value = json[name];
    if (value === undefined) throw refused(`a watch of type ${json.type} needs "${name}"`);
    return value.split("/").map(encodeURIComponent).join("/");
  };
  switch (json.type) {
    case "key":
      return `kv/${need("key")}`;
    case "keyprefix":
      query.set("recurse", "");
      return `kv/${need("prefix")}`;
    case "services":
    case "nodes":
      return `catalog/${json.type}`;
    case "service":
      for (const tag of json.tag === undefined ? [] : [json.tag].flat()) query.append("tag", tag);
      if (json.passingonly) query.set("passing", "1");
      return `health/service/${need("service")}`;
    case "checks":
      if (json.service !== undefined && json.state !== undefined) throw refused("it has both service and state");
      return json.service === undefined ? `health/state/${json.state ?? "any"}` : `health/checks/${need("service")}`;
    case "event":
      if (json.name !== undefined) query.set("name", json.name);
      return "event/list";
  }
}

function handlerOf({ handler_type: kind, args, http_handler_config: http }: WatchJson): WatchHandler {
  if (kind === "script") {
    if (args === undefined) throw refused('a handler of type script needs "args"');
    return { kind, argv: args };
  }
  if (http === undefined) throw refused('a handler of type http needs "http_handler_config"');
  const timeoutMs = http.timeout === undefined ? HTTP_TIMEOUT_MS : parseDuration(http.timeout);
  if (timeoutMs === null || timeoutMs <= 0) throw refused(`its timeout "${http.timeout}" is no duration`);
  const headers = Object.fromEntries(Object.entries(http.header).map(([name, values]) => [name, [values].flat()]));
  return { kind, url: http.path, method: http.method, headers, timeoutMs, skipVerify: http.tls_skip_verify };
}

function refused(why: string): AppError {
  return new AppError("invalid", `Cannot use a watch of the configuration: ${why}`);
}
