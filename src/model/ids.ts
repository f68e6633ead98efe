import { AppError } from "./error.ts";

/** An absolute path such as `/shop/web`; segments as Marathon allows them (marathon.md §2.1). */
export type AppId = string & { readonly __brand: "AppId" };
/** `<app path with _>.instance-<uuid>`: Marathon's instance id form. */
export type InstanceId = string & { readonly __brand: "InstanceId" };
export type HostId = string & { readonly __brand: "HostId" };
export type DeploymentId = string & { readonly __brand: "DeploymentId" };
/** A DNS label sequence under `service.<domain>`. */
export type ServiceName = string & { readonly __brand: "ServiceName" };
/** `yyyy-MM-dd'T'HH:mm:ss.SSS'Z'`; also the order of versions of an app. */
export type Version = string & { readonly __brand: "Version" };

const SEGMENT = "(([a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])\\.)*([a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])";
const SEGMENT_PATTERN = new RegExp(`^${SEGMENT}$`);
/** Last segments that would be read as part of a Marathon route. */
const RESERVED_LAST = new Set(["restart", "tasks", "versions", ".", ".."]);
const APP_ID_LENGTH_MAX = 255;

/** Reads an app id, absolute or relative to the root; `/a/b`, `a/b` and `//a/b/` are the same app. */
export function parseAppId(text: string): AppId {
  const segments = text.split("/").filter((segment) => segment !== "");
  const last = segments.at(-1);
  const bad = segments.find((segment) => !SEGMENT_PATTERN.test(segment));
  if (last === undefined || bad !== undefined || RESERVED_LAST.has(last) || text.length > APP_ID_LENGTH_MAX) {
    throw new AppError("invalid", `Cannot use app id "${text}": ${appIdFault(last, bad)}`, {
      fields: [{ path: "/id", message: `must fully match regular expression '^${SEGMENT}$'` }],
      hint: "Use lower-case letters, digits, dashes and dots, with / between groups",
    });
  }
  return `/${segments.join("/")}` as AppId;
}

function appIdFault(last: string | undefined, bad: string | undefined): string {
  if (last === undefined) return "it is empty";
  if (bad !== undefined) return `the part "${bad}" has characters that a name cannot have`;
  if (RESERVED_LAST.has(last)) return `"${last}" is a reserved last part`;
  return `it is longer than ${APP_ID_LENGTH_MAX} characters`;
}

export function instanceIdFor(appId: AppId, uuid: string): InstanceId {
  return `${appId.slice(1).replaceAll("/", "_")}.instance-${uuid}` as InstanceId;
}

export function formatVersion(epochMs: number): Version {
  return new Date(epochMs).toISOString() as Version;
}

const VERSION_PATTERN = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,3})?Z$/;

export function parseVersion(text: string): Version {
  const epochMs = VERSION_PATTERN.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(epochMs)) {
    throw new AppError("invalid", `Invalid timestamp provided '${text}'. Expecting ISO-8601 datetime string.`);
  }
  return formatVersion(epochMs);
}

const SERVICE_LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** Reads a service name; upper case is folded, since DNS ignores case (RFC 4343). */
export function parseServiceName(text: string): ServiceName {
  const name = text.toLowerCase();
  if (name.length > 200 || !name.split(".").every((label) => SERVICE_LABEL.test(label))) {
    throw new AppError(
      "invalid",
      `Cannot use service name "${text}": it must be DNS labels of letters, digits, - and _`,
    );
  }
  return name as ServiceName;
}

/** Name under which an app without SERVICE_NAME is registered: `/shop/web` → `shop-web`. */
export function defaultServiceName(appId: AppId): ServiceName {
  const label = appId.slice(1).replaceAll(/[/.]/g, "-").slice(0, 63);
  // The cut may leave a dash at the end, which a name cannot have.
  return label.replace(/-+$/, "") as ServiceName;
}

const HOST_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function parseHostName(text: string): string {
  const name = text.toLowerCase();
  if (!HOST_NAME.test(name)) {
    throw new AppError("invalid", `Cannot use host name "${text}": it must be one DNS label`, {
      hint: "Pass --name with letters, digits and dashes, 63 at most",
    });
  }
  return name;
}
