/** The status of an HTTP/1 answer, once its first line is complete; null before, and for what is not HTTP. */
export function parseStatusLine(head: string): number | null {
  const match = /^HTTP\/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n/.exec(head);
  return match === null ? null : Number(match[1]);
}
