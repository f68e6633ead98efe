/** How long a program that holds the port gets to say who it is. */
const TIMEOUT_MS = 1000;

/** Whether an Apollo serves Consul's API there. */
export async function isApolloAt(address: string, port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://${address}:${port}/v1/agent/self`, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const self = (await response.json()) as { readonly Config?: { readonly Revision?: unknown } } | null;
    return String(self?.Config?.Revision).startsWith("apollo-");
  } catch {
    return false;
  }
}
