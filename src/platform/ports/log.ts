/** Facts beside the message: ids, names, counts; never secrets. An `error` field is written with its cause. */
export type LogFields = Readonly<Record<string, unknown>>;

/** The program's log, for operators. One line an event, in sentences; what repeats is logged once per change. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log with fields added to every line. */
  child(fields: LogFields): Log;
}
