import type { Route } from "./call.ts";
import { getKey, removeKey, setKey } from "./kv-routes.ts";
import { destroySession, getSession, listSessions, makeSession, nodeSessions, renewSession } from "./session-routes.ts";

/** By path below `/v1/`; a name that ends in a slash takes the rest. */
export const ROUTES: Readonly<Record<string, Readonly<Record<string, Route>>>> = {
  "kv/": { GET: getKey, PUT: setKey, DELETE: removeKey },
  "session/create": { PUT: makeSession },
  "session/destroy/": { PUT: destroySession },
  "session/renew/": { PUT: renewSession },
  "session/info/": { GET: getSession },
  "session/node/": { GET: nodeSessions },
  "session/list": { GET: listSessions },
};
