import { createHash, X509Certificate } from "node:crypto";
import { AppError, describeError, HTTP_STATUS } from "../../model/error.ts";
import type { ErrorCode } from "../../model/error.ts";
import type { JoinClient } from "../ports/join-client.ts";

const TIMEOUT_MS = 10_000;
const CA_CHARACTERS_MAX = 64 * 1024;

/** @param serverName the name in the server's certificate, whatever address is dialled */
export function httpsJoinClient(serverName: string): JoinClient {
  return {
    fetchCa: async (url) => {
      // Nothing is known of the server yet: whoever answers, the fingerprint in the token decides.
      const response = await request(new URL("/api/ca", url), { tls: { rejectUnauthorized: false } });
      const pem = (await response.text()).slice(0, CA_CHARACTERS_MAX);
      try {
        return { pem, fingerprint: createHash("sha256").update(new X509Certificate(pem).raw).digest("base64url") };
      } catch (cause) {
        throw new AppError("unavailable", `Cannot join over ${url}: it shows no CA certificate`, {
          cause,
          hint: "Check that this is the address of an Apollo server",
        });
      }
    },
    post: async ({ url, path, bearer, caPem, body }) => {
      const response = await request(new URL(path, url), {
        method: "POST",
        headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json" },
        body: JSON.stringify(body),
        tls: { ca: caPem, serverName },
      });
      const text = await response.text();
      if (!response.ok) throw refusal(response.status, text);
      return parseJson(text);
    },
  };
}

async function request(url: URL, init: RequestInit & { readonly tls: object }): Promise<Response> {
  try {
    return await fetch(url, { ...init, redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS) } as RequestInit);
  } catch (cause) {
    throw new AppError("unavailable", `Cannot reach server ${url.origin}: ${describeError(cause)}`, {
      cause,
      hint: "Check the address, and that the server runs: apollo server",
    });
  }
}

/** The server's own words, in the form of its API's errors. */
function refusal(status: number, text: string): AppError {
  const json = parseJson(text) as {
    readonly error?: { readonly code?: string; readonly message?: string; readonly hint?: string };
  } | null;
  const code = (Object.keys(HTTP_STATUS) as ErrorCode[]).find((known) => known === json?.error?.code);
  const byStatus = status === 401 || status === 403 ? "denied" : "unavailable";
  const message = json?.error?.message ?? `Cannot join: the server answered with status ${status}`;
  const hint = json?.error?.hint;
  return new AppError(code ?? byStatus, message, hint === undefined ? {} : { hint });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
