import pino from "pino";
import type { Log } from "../ports/log.ts";

export interface PinoLogOptions {
  readonly name: string;
  readonly level: "debug" | "info" | "warn" | "error" | "silent";
}

/** A log as JSON lines on standard error, since standard output belongs to what a command answers. */
export function pinoLog(options: PinoLogOptions): Log {
  const destination = pino.destination({ fd: 2, sync: true });
  const logger = pino(
    { name: options.name, level: options.level, serializers: { error: pino.stdSerializers.err } },
    destination,
  );
  return {
    debug: (message, fields) => logger.debug(fields ?? {}, message),
    info: (message, fields) => logger.info(fields ?? {}, message),
    warn: (message, fields) => logger.warn(fields ?? {}, message),
    error: (message, fields) => logger.error(fields ?? {}, message),
  };
}
