/**
 * The store in one file: SQLite with a write-ahead log and `synchronous=FULL`, so what a commit resolved for survives a
 * crash of the process and of the machine.
 *
 * Commits that arrive in one turn of the event loop share one SQLite transaction, and so one fsync: a rollout that
 * places hundreds of instances pays for a disk flush once a turn, not once an instance. Each still has its own revision
 * and its own conditions, checked in order of arrival.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { AppError, describeError } from "../../model/error.ts";
import type { Store, StoreChange, StoreCondition, StoreEntry, StoreWrite } from "../ports/store.ts";
import { StoreWatchers } from "../ports/store-watchers.ts";

const SCHEMA_VERSION = 1;
const VALUE_BYTES_MAX = 1024 * 1024;
const KEY_PATTERN = /^[\x20-\x7e]{1,512}$/;
const PREFIX_PATTERN = /^[\x20-\x7e]{0,512}$/;
/** Sorts after every printable character: `prefix + AFTER` ends the range of a prefix. */
const AFTER = "\x7f";
/** A commit larger than this is a programming mistake, not a workload. */
const WRITES_MAX = 10_000;

interface Row {
  readonly key: string;
  readonly value: string;
  readonly revision: number;
}

interface Encoded {
  readonly key: string;
  /** JSON, or null to delete. */
  readonly json: string | null;
}

interface Pending {
  readonly writes: readonly StoreWrite[];
  readonly encoded: readonly Encoded[];
  readonly conditions: readonly StoreCondition[];
  readonly resolve: (revision: number | null) => void;
  readonly reject: (error: unknown) => void;
}

export interface SqliteStoreOptions {
  /** Upper bound of the file in 4 KiB pages; commits beyond it fail with `unavailable` like a full disk. */
  readonly pagesMax?: number;
}

export class SqliteStore implements Store {
  readonly #path: string;
  readonly #db: Database;
  readonly #watchers = new StoreWatchers();
  #pending: Pending[] = [];
  #closed = false;
  #revision: number;

  private constructor(path: string, db: Database) {
    this.#path = path;
    this.#db = db;
    this.#revision = db.query<{ revision: number }, []>("SELECT revision FROM meta").get()?.revision ?? 0;
  }

  /**
   * Opens the file, making it and its directory (0700) when missing. The file belongs to one process at a time.
   * @throws AppError `conflict` when another process has it, `unavailable` when it is damaged or cannot be written.
   */
  static open(path: string, options: SqliteStoreOptions = {}): SqliteStore {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      // SQLite gives its log the mode of the main file, so the mode is set before it ever opens it: hashes of credentials are inside.
      closeSync(openSync(path, "a", 0o600));
    } catch (cause) {
      throw new AppError("unavailable", `Cannot open store "${path}": ${describeError(cause)}`, { cause });
    }
    let db: Database | undefined;
    try {
      db = new Database(path, { create: true, readwrite: true, strict: true });
      prepare(db, path, options);
      return new SqliteStore(path, db);
    } catch (error) {
      db?.close();
      throw storeError(error, "open", path);
    }
  }

  async get(key: string): Promise<StoreEntry | null> {
    this.#assertOpen();
    checkKey(key);
    const row = this.#attempt("read", () =>
      this.#db.query<Row, [string]>("SELECT key, value, revision FROM entries WHERE key = ?").get(key),
    );
    return row === null ? null : entryOf(row);
  }

  async list(prefix: string): Promise<readonly StoreEntry[]> {
    this.#assertOpen();
    if (!PREFIX_PATTERN.test(prefix)) throw badKey(prefix);
    const rows = this.#attempt("read", () =>
      this.#db
        .query<Row, [string, string]>(
          "SELECT key, value, revision FROM entries WHERE key >= ? AND key < ? ORDER BY key",
        )
        .all(prefix, prefix + AFTER),
    );
    return rows.map(entryOf);
  }

  async commit(writes: readonly StoreWrite[], conditions: readonly StoreCondition[] = []): Promise<number | null> {
    this.#assertOpen();
    if (writes.length > WRITES_MAX) {
      throw new AppError("invalid", `Cannot commit ${writes.length} writes at once: at most ${WRITES_MAX}`);
    }
    const encoded = writes.map(encode);
    for (const condition of conditions) checkKey(condition.key);
    return await new Promise<number | null>((resolve, reject) => {
      this.#pending.push({ writes, encoded, conditions, resolve, reject });
      // Not a microtask: those run between two requests of one turn, and each request would pay for a flush of its own.
      if (this.#pending.length === 1) setImmediate(() => this.#flush());
    });
  }

  watch(onChange: (change: StoreChange) => void): () => void {
    return this.#watchers.add(onChange);
  }

  /**
   * Waits for commits under way, then folds the log into the file. Without room for that it stays as it is: whoever opens the
   * store next reads both. A second call does nothing.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#flush();
    this.#closed = true;
    this.#watchers.clear();
    try {
      this.#db.run("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch (error) {
      if (!isFull(error)) throw storeError(error, "close", this.#path);
    } finally {
      this.#db.close();
    }
  }

  #flush(): void {
    const batch = this.#pending;
    this.#pending = [];
    if (batch.length === 0) return;
    const before = this.#revision;
    let results: readonly (number | null)[];
    try {
      results = this.#attempt("write", () => this.#db.transaction(() => batch.map((one) => this.#applyOne(one)))());
    } catch (error) {
      this.#revision = before;
      for (const one of batch) one.reject(error);
      return;
    }
    this.#watchers.tell(
      batch.flatMap(({ writes }, index) => {
        const revision = results[index] ?? null;
        return revision === null ? [] : [{ revision, writes }];
      }),
    );
    batch.forEach((one, index) => one.resolve(results[index] ?? null));
  }

  /** Inside the transaction: the new revision, or null when a condition does not hold. */
  #applyOne(one: Pending): number | null {
    const find = this.#db.query<{ revision: number }, [string]>("SELECT revision FROM entries WHERE key = ?");
    if (one.conditions.some(({ key, revision }) => (find.get(key)?.revision ?? 0) !== revision)) return null;
    const revision = this.#revision + 1;
    const put = this.#db.query("INSERT OR REPLACE INTO entries (key, value, revision) VALUES (?, ?, ?)");
    const drop = this.#db.query("DELETE FROM entries WHERE key = ?");
    for (const { key, json } of one.encoded) {
      if (json === null) drop.run(key);
      else put.run(key, json, revision);
    }
    this.#db.query("UPDATE meta SET revision = ?").run(revision);
    this.#revision = revision;
    return revision;
  }

  #attempt<T>(verb: string, act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw storeError(error, verb, this.#path);
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw new AppError("unavailable", `Cannot use store "${this.#path}": it is closed`);
  }
}

function prepare(db: Database, path: string, options: SqliteStoreOptions): void {
  // Before WAL mode, so that the log needs no shared memory and a second server on the file is refused at once.
  db.run("PRAGMA locking_mode = EXCLUSIVE");
  db.run("PRAGMA busy_timeout = 0");
  db.run("PRAGMA journal_mode = WAL");
  db.run("PRAGMA synchronous = FULL");
  if (options.pagesMax !== undefined) db.run(`PRAGMA max_page_count = ${Math.floor(options.pagesMax)}`);
  const found = db.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
  if (found > SCHEMA_VERSION) {
    throw new AppError("unavailable", `Cannot open store "${path}": it was written by a newer Apollo`, {
      hint: "Start the newer version, or restore a backup made with this one",
      details: { found, known: SCHEMA_VERSION },
    });
  }
  const check = db.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").get()?.quick_check;
  if (check !== "ok") throw damaged(path, check ?? "no answer of quick_check");
  db.transaction(() => {
    db.run(
      "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID",
    );
    db.run("CREATE TABLE IF NOT EXISTS meta (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL)");
    db.run("INSERT OR IGNORE INTO meta (one, revision) VALUES (1, 0)");
    db.run(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  })();
}

function entryOf(row: Row): StoreEntry {
  return { key: row.key, value: JSON.parse(row.value) as unknown, revision: row.revision };
}

function encode(write: StoreWrite): Encoded {
  checkKey(write.key);
  if (write.kind === "delete") return { key: write.key, json: null };
  const json = JSON.stringify(write.value) as string | undefined;
  if (json === undefined) throw new AppError("invalid", `Cannot store "${write.key}": the value is not JSON`);
  const bytes = Buffer.byteLength(json);
  if (bytes > VALUE_BYTES_MAX) {
    throw new AppError("invalid", `Cannot store "${write.key}": ${bytes} bytes, at most ${VALUE_BYTES_MAX}`);
  }
  return { key: write.key, json };
}

function checkKey(key: string): void {
  if (!KEY_PATTERN.test(key)) throw badKey(key);
}

function badKey(key: string): AppError {
  return new AppError(
    "invalid",
    `Cannot use key ${JSON.stringify(key.slice(0, 80))}: 1 to 512 printable ASCII characters`,
  );
}

function damaged(path: string, what: string): AppError {
  return new AppError("unavailable", `Cannot use store "${path}": the file is damaged (${what})`, {
    hint: "Restore the last backup of the file, together with none of its -wal and -shm companions",
  });
}

function isFull(error: unknown): boolean {
  return error instanceof SQLiteError && (error.code ?? "").startsWith("SQLITE_FULL");
}

function storeError(error: unknown, verb: string, path: string): unknown {
  if (!(error instanceof SQLiteError)) return error;
  const code = error.code ?? "";
  const options = { cause: error, details: { sqlite: code } };
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) {
    return new AppError("conflict", `Cannot ${verb} store "${path}": another process uses it`, {
      ...options,
      hint: "Stop the other server, or give this one its own --data directory",
    });
  }
  if (isFull(error)) {
    return new AppError("unavailable", `Cannot ${verb} store "${path}": the disk is full`, {
      ...options,
      hint: `Free space on the file system of ${path}; nothing of the change was written`,
    });
  }
  if (code.startsWith("SQLITE_CORRUPT") || code.startsWith("SQLITE_NOTADB")) return damaged(path, error.message);
  const hint = `See that ${path} and its file system can be written; the change was not stored`;
  return new AppError("unavailable", `Cannot ${verb} store "${path}": ${error.message}`, { ...options, hint });
}
