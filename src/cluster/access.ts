/**
 * The choke point: every API asks here, and nowhere else is anything allowed or refused. Users, roles and policies of
 * later versions change `Principal` and `MAY`, not the callers.
 *
 * The console's cookie comes with every request of a browser, so it needs more: our own origin, and for anything but
 * reading the console's header.
 *
 *   principal   got by                               read  write  admin  join  agent
 *   admin       admin token, or a session of it       yes   yes    yes   yes    -
 *   anonymous   the server's flag, from loopback      yes   yes    yes    -     -
 *   joiner      join secret                            -     -      -    yes    -
 *   host        credential that the join gave out      -     -      -     -    yes
 */
import { AppError } from "../model/error.ts";
import type { HostId } from "../model/ids.ts";
import type { Digest } from "../platform/ports/digest.ts";
import type { HttpRequest } from "../platform/ports/http.ts";
import { accessRequestOf, type AccessRequest, type Token } from "./credentials.ts";
import { equalsConstantTime, matchesHash } from "./tokens.ts";

export type Verb = "read" | "write" | "admin" | "join" | "agent";

export interface Action {
  readonly verb: Verb;
  /** What it is done to, for messages, logs and later policies: "apps", "hosts/h1", "join-token". */
  readonly resource: string;
}

export type Principal =
  | { readonly kind: "admin" }
  | { readonly kind: "anonymous" }
  | { readonly kind: "joiner" }
  | { readonly kind: "host"; readonly hostId: HostId };

export interface AccessRules {
  /** SHA-256, hex. */
  readonly adminTokenHash: string;
  readonly joinSecretHash: string;
  /** Key that sessions are signed with; a new one ends them all. */
  readonly sessionKey: string;
  /** The operator's flag: requests from this machine need no token. */
  readonly anonymous: boolean;
  /** Host whose stored credential hash this is. */
  hostByCredential(hash: string): HostId | null;
}

const MAY: Readonly<Record<Principal["kind"], readonly Verb[]>> = {
  admin: ["read", "write", "admin", "join"],
  anonymous: ["read", "write", "admin"],
  joiner: ["join"],
  host: ["agent"],
};

const SESSION_MS = 12 * 3_600_000;
const LOOPBACK_NAME = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/;

/** An address, a name without a dot, or one below a domain that is nobody's on the Internet (RFC 6761, `.internal` and Consul's own). */
const INNER_NAME =
  /^([a-z0-9_-]+|([a-z0-9_-]+\.)+(consul|internal|localhost|localdomain)|\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\])(:\d+)?$/;

export class AccessControl {
  readonly #rules: AccessRules;
  readonly #digest: Digest;
  readonly #nowMs: () => number;

  constructor(rules: AccessRules, digest: Digest, nowMs: () => number) {
    this.#rules = rules;
    this.#digest = digest;
    this.#nowMs = nowMs;
  }

  /**
   * Who asks, when they may do it.
   * @throws AppError `denied`: details.status 401 when it is not known who asks, 403 when they may not.
   */
  authorize(request: AccessRequest, action: Action): Principal {
    const principal = this.#identify(request);
    // Reading with the cookie is harmless: a page of another origin cannot see the answer.
    if (request.token?.kind === "session" && action.verb !== "read") assertFromConsole(request);
    if (MAY[principal.kind].includes(action.verb)) return principal;
    throw new AppError("denied", "Not Authorized to perform this action!", {
      hint: HINT[principal.kind],
      details: { status: 403, resource: action.resource, verb: action.verb },
    });
  }

  /** Who holds the secret, for APIs with tokens of their own beside the platform's; null for none of ours. */
  principalOf(secret: string): Principal | null {
    return this.#bySecret({ kind: "secret", text: secret });
  }

  /** Cookie value for a console that showed the admin token. @throws AppError `denied` for any other token. */
  openSession(secret: string): { readonly value: string; readonly maxAgeS: number } {
    if (!matchesHash(this.#digest, secret, this.#rules.adminTokenHash))
      throw unknownToken("Cannot sign in: the token is not the admin token of this cluster");
    const expiresMs = this.#nowMs() + SESSION_MS;
    return { value: `${expiresMs}.${this.#sign(expiresMs)}`, maxAgeS: SESSION_MS / 1000 };
  }

  #identify(request: AccessRequest): Principal {
    if (request.token === null) return this.#anonymous(request);
    // Browsers send the cookie by themselves, also for other sites on the same name: those have another origin.
    if (request.token.kind === "session") assertSameOrigin(request);
    const principal = request.token.kind === "session" ? this.#bySession(request.token) : this.#bySecret(request.token);
    if (principal === null) throw unknownToken();
    return principal;
  }

  #bySecret(token: Token): Principal | null {
    const secret = token.text.startsWith("apollo1.") ? (token.text.split(".")[2] ?? "") : token.text;
    if (secret === "") return null;
    const hash = this.#digest.sha256(secret);
    if (equalsConstantTime(hash, this.#rules.adminTokenHash)) return { kind: "admin" };
    if (equalsConstantTime(hash, this.#rules.joinSecretHash)) return { kind: "joiner" };
    const hostId = this.#rules.hostByCredential(hash);
    return hostId === null ? null : { kind: "host", hostId };
  }

  #bySession(token: Token): Principal | null {
    const [expires = "", signature = "", rest] = token.text.split(".");
    const expiresMs = /^\d{1,15}$/.test(expires) ? Number(expires) : 0;
    if (rest !== undefined || !equalsConstantTime(this.#sign(expiresMs), signature)) return null;
    return expiresMs > this.#nowMs() ? { kind: "admin" } : null;
  }

  /** The admin token is part of what is signed, so that a changed token ends its sessions. */
  #sign(expiresMs: number): string {
    return this.#digest.hmac(this.#rules.sessionKey, `admin ${expiresMs} ${this.#rules.adminTokenHash}`);
  }

  #anonymous(request: AccessRequest): Principal {
    if (!this.#rules.anonymous || !isLocal(request)) {
      throw new AppError("denied", "Invalid username or password.", {
        hint: 'Pass the admin token: "Authorization: Bearer TOKEN", basic auth with it as password, or APOLLO_TOKEN for the CLI',
        details: { status: 401 },
      });
    }
    assertSameOrigin(request);
    return { kind: "anonymous" };
  }
}

/**
 * Whether a request comes from a program on this machine. A web page can point a name of its own at 127.0.0.1; its requests
 * then come from this machine, with that name.
 */
function isLocal({ remote, host }: AccessRequest): boolean {
  return remote === "loopback" && (host === null || LOOPBACK_NAME.test(host));
}

/**
 * Whether a request comes from a program on this machine that may not know which name it is asked for by: clients of Consul send
 * `consul`, the name of a service of theirs or an address. No page of the Internet has an address or such a name for its own, and
 * those of a network that lies about names come from a browser, which says what languages it wants. Nor is it from a page of
 * another origin.
 */
export function isFromThisMachine(request: AccessRequest): boolean {
  const { remote, host, origin, fromBrowser } = request;
  const ownOrigin = origin === null || origin.replace(/^https?:\/\//, "") === host;
  const isKnown = isLocal(request) || (remote === "loopback" && host !== null && !fromBrowser && INNER_NAME.test(host));
  return isKnown && ownOrigin;
}

/** The question as request handlers ask it. @throws AppError `denied`, see `AccessControl.authorize`. */
export type Authorize = (request: HttpRequest, action: Action) => Principal;

export function authorizeWith(access: AccessControl): Authorize {
  return (request, action) => access.authorize(accessRequestOf(request), action);
}

const HINT: Readonly<Record<Principal["kind"], string>> = {
  admin: "Agents speak with the credential that their join gave them",
  anonymous: "Joining needs the join token, agents their own credential",
  joiner: "The join token only lets hosts join; use the admin token",
  host: "A host's credential only serves its agent; use the admin token",
};

function assertSameOrigin({ origin, host }: AccessRequest): void {
  if (origin === null) return;
  if (host === null || !/^https?:\/\//.test(origin) || origin.replace(/^https?:\/\//, "") !== host)
    throw foreignOrigin(origin);
}

/** The second lock beside the origin, for browsers and proxies that leave `Origin` out. */
function assertFromConsole({ fromConsole, upgrade, origin }: AccessRequest): void {
  if (fromConsole || (upgrade && origin !== null)) return;
  throw new AppError("denied", "Cannot change anything by the console's cookie alone", {
    hint: 'Send "X-Apollo-Console: 1" with it, or the admin token in the Authorization header',
    details: { status: 403 },
  });
}

function foreignOrigin(origin: string): AppError {
  return new AppError("denied", `Cannot answer a page of "${origin}" without a token of its own`, {
    hint: "Send the admin token in the Authorization header",
    details: { status: 403 },
  });
}

/** @param message Marathon's own words by default, which its clients look for. */
function unknownToken(message = "Invalid username or password."): AppError {
  return new AppError("denied", message, {
    hint: 'The token is not known here; the admin token is in the server\'s data directory, file "admin.json"',
    details: { status: 401 },
  });
}
