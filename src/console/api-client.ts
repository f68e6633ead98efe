/** The server's API as the console uses it: same origin, session cookie, and a header that no foreign page can set. */
import type { DeploymentRefJson, ErrorJson, InfoJson, StatusJson, VersionJson, WhyJson } from "../api/native/shapes.ts";

/** A request that was refused or did not arrive; message and hint are the server's own words. */
export class ApiFailure extends Error {
  /** 0 when the server could not be reached. */
  readonly status: number;
  readonly hint: string | null;
  readonly fields: readonly { readonly path: string; readonly message: string }[];

  constructor(status: number, error: ErrorJson["error"]) {
    super(error.message);
    this.name = "ApiFailure";
    this.status = status;
    this.hint = error.hint ?? null;
    this.fields = error.fields ?? [];
  }
}

/** Marks requests as the console's: browsers send it across origins only after asking, and the server never agrees. */
export const CONSOLE_HEADER = "x-apollo-console";

type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export class ApiClient {
  readonly #base: string;
  readonly #fetch: Fetch;
  /** Called on 401: the session has ended. */
  onRefused: () => void = () => {};

  /** `base` ends in `/api/`. */
  constructor(base: string, fetchFunction: Fetch) {
    this.#base = base;
    this.#fetch = fetchFunction;
  }

  /** Exchanges a token for the session cookie; throws ApiFailure 401 or 403 for a wrong one. */
  async signIn(token: string): Promise<void> {
    await this.#send("POST", "session", { token });
  }

  async signOut(): Promise<void> {
    await this.#send("DELETE", "session");
  }

  async checkSession(): Promise<"good" | "refused" | "unreachable"> {
    try {
      await this.#send("GET", "status");
      return "good";
    } catch (error) {
      return error instanceof ApiFailure && error.status === 401 ? "refused" : "unreachable";
    }
  }

  async info(): Promise<InfoJson> {
    return this.#read<InfoJson>("info");
  }

  async status(): Promise<StatusJson> {
    return this.#read<StatusJson>("status");
  }

  async why(app: string): Promise<WhyJson> {
    return this.#read<WhyJson>(`apps/${appPath(app)}/why`);
  }

  async versions(app: string): Promise<readonly VersionJson[]> {
    return this.#read<readonly VersionJson[]>(`apps/${appPath(app)}/versions`);
  }

  async scale(app: string, instances: number): Promise<DeploymentRefJson> {
    return this.#act<DeploymentRefJson>("POST", `apps/${appPath(app)}/scale`, { instances });
  }

  async restart(app: string): Promise<DeploymentRefJson> {
    return this.#act<DeploymentRefJson>("POST", `apps/${appPath(app)}/restart`, {});
  }

  async rollback(app: string, version: string): Promise<DeploymentRefJson> {
    return this.#act<DeploymentRefJson>("POST", `apps/${appPath(app)}/rollback`, { version });
  }

  async destroy(app: string): Promise<void> {
    await this.#act("DELETE", `apps/${appPath(app)}`);
  }

  async cancelDeployment(id: string): Promise<void> {
    await this.#act("DELETE", `deployments/${encodeURIComponent(id)}`);
  }

  async replaceInstance(id: string): Promise<void> {
    await this.#act("DELETE", `instances/${encodeURIComponent(id)}`);
  }

  async setCordon(host: string, cordoned: boolean): Promise<void> {
    await this.#act("POST", `hosts/${encodeURIComponent(host)}/${cordoned ? "cordon" : "uncordon"}`, {});
  }

  async #read<T>(path: string): Promise<T> {
    return this.#act<T>("GET", path);
  }

  async #act<T>(method: string, path: string, body?: unknown): Promise<T> {
    try {
      return (await this.#send(method, path, body)) as T;
    } catch (error) {
      if (error instanceof ApiFailure && error.status === 401) this.onRefused();
      throw error;
    }
  }

  async #send(method: string, path: string, body?: unknown): Promise<unknown> {
    const headers: Record<string, string> = { [CONSOLE_HEADER]: "1" };
    if (body !== undefined) headers["content-type"] = "application/json";
    let response: Response;
    try {
      response = await this.#fetch(this.#base + path, {
        method,
        headers,
        credentials: "same-origin",
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    } catch {
      throw new ApiFailure(0, {
        code: "unavailable",
        message: "Cannot reach the server: the connection failed",
        hint: "Check that the server runs (apollo status), then try again",
      });
    }
    const text = await response.text();
    if (!response.ok) throw new ApiFailure(response.status, parseErrorBody(text, response.status));
    return text === "" ? null : JSON.parse(text);
  }
}

/** The server's own words, or a plain sentence when something between answered in its place. */
function parseErrorBody(text: string, status: number): ErrorJson["error"] {
  try {
    const body = JSON.parse(text) as Partial<ErrorJson>;
    if (typeof body.error?.message === "string") return body.error;
  } catch {
    // Not JSON: a proxy's page.
  }
  return { code: "unavailable", message: `Cannot complete the request: the server answered ${status}` };
}

/** App ids are encoded whole, without the leading slash. */
function appPath(app: string): string {
  return encodeURIComponent(app.replace(/^\//, ""));
}
