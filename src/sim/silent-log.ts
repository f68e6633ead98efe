import type { Log } from "../platform/ports/log.ts";

/** For those whose words nobody needs. */
export const SILENT_LOG: Log & { readonly child: () => Log } = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => SILENT_LOG,
};
