import type { HostJson } from "../api/native/shapes.ts";
import { AppError } from "../model/error.ts";
import type { ApolloClient } from "./client.ts";

/** Asks one host's agent. @throws AppError as the agent says. */
export async function askAgent<T>(client: ApolloClient, host: string, question: object): Promise<T> {
  return await client.request<T>("POST", `/api/hosts/${encodeURIComponent(host)}/query`, { body: question });
}

export interface HostAnswers<T> {
  readonly answers: readonly T[];
  /** Hosts that did not answer, and why. */
  readonly silent: readonly { readonly host: string; readonly why: string }[];
}

/** Asks every host that is up, at once; those that do not answer are named. */
export async function askAllHosts<T>(client: ApolloClient, question: object): Promise<HostAnswers<T>> {
  const hosts = (await client.get<readonly HostJson[]>("/api/hosts")).filter(({ phase }) => phase === "up");
  const answers: T[] = [];
  const silent: { host: string; why: string }[] = [];
  await Promise.all(
    hosts.map(async ({ name }) => {
      try {
        answers.push(await askAgent<T>(client, name, question));
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        silent.push({ host: name, why: error.message });
      }
    }),
  );
  return { answers, silent: silent.toSorted((a, b) => (a.host < b.host ? -1 : 1)) };
}

/** Any host: all know the same. @throws AppError `unavailable` when none is up. */
export async function anyHost(client: ApolloClient): Promise<string> {
  const hosts = await client.get<readonly HostJson[]>("/api/hosts");
  const up = hosts.find(({ phase }) => phase === "up");
  if (up !== undefined) return up.name;
  throw new AppError("unavailable", "Cannot ask about the network: no host is up", { hint: "apollo host list" });
}
