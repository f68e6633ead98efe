/**
 * Names of headers as they go out: `X-Consul-Index`, each word with a capital. Their case means nothing (RFC 9110 §5.1), but Consul,
 * like all that Go serves, writes them so, and scripts look for just that (`curl -i … | grep X-Consul-Index`).
 */
export function spellHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const spelled: Record<string, string> = {};
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined) spelled[spell(name)] = value;
  }
  return spelled;
}

/** Names come from our own code but for those that an agent passes on, which are its server's. */
const KNOWN_MAX = 500;
const known = new Map<string, string>();

function spell(name: string): string {
  const found = known.get(name);
  if (found !== undefined) return found;
  const spelled = name.toLowerCase().replaceAll(/(?<=^|-)[a-z]/g, (letter) => letter.toUpperCase());
  if (known.size < KNOWN_MAX) known.set(name, spelled);
  return spelled;
}
