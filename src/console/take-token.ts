/**
 * Splits a sign-in token from an address fragment: `#token=abc` or `#/apps&token=abc`. Fragments are never sent to the
 * server, but they stay in the history, so the caller puts `rest` in the address bar at once.
 */
export function takeToken(hash: string): { readonly token: string; readonly rest: string } | null {
  const match = /(^#|&)token=([^&]*)/.exec(hash);
  if (match === null) return null;
  const rest = hash.replace(match[0], match[1] === "#" ? "#" : "");
  return { token: decodeToken(match[2] ?? ""), rest: rest === "#" ? "#/" : rest.replace(/^#&/, "#") };
}

function decodeToken(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
