import { request as requestPlain, type IncomingMessage } from "node:http";
import { request as requestSecure } from "node:https";
import type { CheckAnswer, CheckRunLimits, CheckTarget } from "../ports/check-runner.ts";
import { once } from "./once.ts";

type HttpTarget = CheckTarget & { readonly kind: "http" };

/** As Go's client follows. */
const REDIRECTS_MAX = 10;
const DEFAULT_HEADERS = { "User-Agent": "Consul Health Check", Accept: "text/plain, text/*, */*" } as const;
const TOO_MANY = 429;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * 2xx is passing, 429 a warning, all else critical. `node:http` is used since it keeps no connections and, unlike `fetch`,
 * asks nobody's proxy for it.
 */
export function checkHttp(target: HttpTarget, limits: CheckRunLimits): Promise<CheckAnswer> {
  return once(`HTTP ${target.method} ${target.url}`, limits, (attempt) => {
    const ask = (url: string, method: string, redirects: number): void => {
      const place = new URL(url);
      const secure = place.protocol === "https:";
      const { serverName, skipVerify } = target.tls;
      const options = {
        method,
        agent: false as const,
        headers: { ...DEFAULT_HEADERS, ...headersOf(target), Connection: "close" },
        ...(secure
          ? { rejectUnauthorized: !skipVerify, ...(serverName === "" ? {} : { servername: serverName }) }
          : {}),
      };
      const sent = (secure ? requestSecure : requestPlain)(place, options, (response) => {
        const { statusCode = 0, headers } = response;
        const next = headers.location;
        if (target.followRedirects && REDIRECTS.has(statusCode) && next !== undefined && URL.canParse(next, url)) {
          response.destroy();
          if (redirects >= REDIRECTS_MAX) return attempt.fail("", new Error(`more than ${REDIRECTS_MAX} redirects`));
          const kept = statusCode === 307 || statusCode === 308 || method === "HEAD";
          const followed = new URL(next, url);
          if (followed.protocol !== "http:" && followed.protocol !== "https:")
            return attempt.fail("", new Error(`redirect to ${followed.protocol}`));
          return ask(followed.href, kept ? method : "GET", redirects + 1);
        }
        readBody(response, limits.outputMax, (body) => {
          const { statusMessage = "" } = response;
          const output = `HTTP ${target.method} ${target.url}: ${statusCode} ${statusMessage} Output: ${body}`;
          attempt.answer({ status: judge(statusCode), output });
        });
      });
      attempt.onEnd(() => sent.destroy());
      sent.on("error", (error) => attempt.fail("", error));
      sent.end(target.body === "" || (method === "GET" && method !== target.method) ? undefined : target.body);
    };
    if (URL.canParse(target.url)) ask(target.url, target.method, 0);
    else attempt.fail("", new Error("that is no URL"));
  });
}

function judge(status: number): CheckAnswer["status"] {
  if (status >= 200 && status < 300) return "passing";
  return status === TOO_MANY ? "warning" : "critical";
}

function headersOf({ headers }: HttpTarget): Record<string, string | string[]> {
  const shown = Object.entries(headers).map(([name, values]) => [
    name,
    values.length === 1 ? (values[0] ?? "") : [...values],
  ]);
  return Object.fromEntries(shown) as Record<string, string | string[]>;
}

/** As much as is kept; the rest is not read. What comes before a broken connection counts as well. */
function readBody(response: IncomingMessage, max: number, done: (body: string) => void): void {
  const decoder = new TextDecoder();
  let text = "";
  const end = (): void => done(text.slice(0, max));
  response.on("data", (piece: Uint8Array) => {
    text += decoder.decode(piece, { stream: true });
    if (text.length < max) return;
    end();
    response.destroy();
  });
  response.on("end", end);
  response.on("error", end);
  response.on("close", end);
}
