/**
 * What servers ask each other: `POST /servers/join` with the server token makes the caller a member of etcd without a vote yet and
 * gives it the CA; `POST /servers/leave` takes it out again. The leading server answers, the others pass on.
 */
import { z } from "zod";
import { json, renderError } from "../api/native/respond.ts";
import { parseJsonBody } from "../api/read-json.ts";
import { AppError } from "../model/error.ts";
import { parseHostName } from "../model/ids.ts";
import { isIpv4 } from "../model/ip.ts";
import type { HttpHandler, HttpRequest } from "../platform/ports/http.ts";
import { groupSchema } from "./server-files.ts";
import type { ServerToken } from "./server-token.ts";

export const SERVERS_PATH = "/servers";
export const JOIN_PATH = `${SERVERS_PATH}/join`;
export const LEAVE_PATH = `${SERVERS_PATH}/leave`;

const name = z.string().max(63);
const place = z.string().regex(/^https:\/\/[\d.]{7,15}:\d{1,5}$/);
const wishSchema = z.object({
  name,
  address: z.string().refine(isIpv4),
  url: place,
  peerUrl: place,
  /** How many servers it waits for; missing: it does not say. */
  expect: z.number().int().min(0).max(64).optional(),
});
const leaveSchema = z.object({ name });
const pem = z.string().max(64 * 1024);
const token = z.string().max(1024);

/** What a server that joins says of itself. */
export type ServerWish = z.infer<typeof wishSchema>;

/** What it is given. */
export const grantSchema = z.object({
  ca: z.object({ certificate: pem, key: pem }),
  joinToken: token,
  serverToken: token,
  group: groupSchema,
});
export type ServerGrant = z.infer<typeof grantSchema>;

export interface ServersApi {
  readonly token: ServerToken;
  join(wish: ServerWish): Promise<ServerGrant>;
  leave(name: string): Promise<void>;
}

export function serversHandler(api: ServersApi): HttpHandler {
  return async (request) => {
    try {
      api.token.check(request);
      if (request.method === "POST" && request.path === JOIN_PATH)
        return json(200, await api.join(await readBody(request, wishSchema)));
      if (request.method === "POST" && request.path === LEAVE_PATH) {
        await api.leave((await readBody(request, leaveSchema)).name);
        return json(200, {});
      }
      throw new AppError("not-found", `Cannot find ${request.path}`);
    } catch (error) {
      if (error instanceof AppError) return renderError(error);
      throw error;
    }
  };
}

async function readBody<Shape extends { readonly name: string }>(
  request: HttpRequest,
  schema: z.ZodType<Shape>,
): Promise<Shape> {
  const result = schema.safeParse(parseJsonBody(await request.body()));
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new AppError("invalid", `Cannot read the request: ${issue?.path.join("/")} ${issue?.message}`);
  }
  parseHostName(result.data.name);
  return result.data;
}
