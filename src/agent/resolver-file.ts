import { constants } from "node:fs";
import { copyFile, lstat, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describeError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { Condition } from "../model/wire.ts";
import { type ResolverSettings, nameserversOf, originalResolvConf, renderResolvConf } from "./resolver-render.ts";

/** The resolver configuration of this host. */
export interface HostResolver {
  /**
   * Puts our server first. Repeatable: a file that is as wanted is not written, and one that somebody else rewrote is
   * taken as the new original. Returns what keeps it from being done, null when it is done.
   */
  install(settings: ResolverSettings): Promise<Condition | null>;
  /** Takes our lines out again. Repeatable; a file without them is left alone. */
  restore(): Promise<Condition | null>;
  /** The host's own nameservers as last read, never ours. */
  nameservers(): readonly Ipv4[];
  /** Reads the file for `nameservers`. A missing file is an empty one. */
  refresh(): Promise<void>;
}

export interface ResolverFileOptions {
  /** Default /etc/resolv.conf. */
  readonly path?: string;
  /** Where the original is kept as it was found. */
  readonly dataDirectory: string;
}

const DEFAULT_PATH = "/etc/resolv.conf";
const ORIGINAL_NAME = "resolv.conf.original";

export class ResolverFile implements HostResolver {
  readonly #path: string;
  readonly #savedPath: string;
  #nameservers: readonly Ipv4[] = [];

  constructor({ path, dataDirectory }: ResolverFileOptions) {
    this.#path = path ?? DEFAULT_PATH;
    this.#savedPath = join(dataDirectory, ORIGINAL_NAME);
  }

  nameservers(): readonly Ipv4[] {
    return this.#nameservers;
  }

  async refresh(): Promise<void> {
    this.#nameservers = nameserversOf(await this.#original());
  }

  async install(settings: ResolverSettings): Promise<Condition | null> {
    return this.#attempt("resolver-not-managed", async () => {
      if (await this.#isLink()) return linkCondition(this.#path, settings.nameserver);
      const original = await this.#original();
      this.#nameservers = nameserversOf(original);
      const wanted = renderResolvConf(original, settings);
      if (wanted === (await readOrEmpty(this.#path))) return null;
      // First the copy, then the change: a crash between the two has changed nothing.
      await mkdir(dirname(this.#savedPath), { recursive: true });
      await replaceFile(this.#savedPath, original);
      await replaceFile(this.#path, wanted);
      return null;
    });
  }

  async restore(): Promise<Condition | null> {
    return this.#attempt("resolver-not-restored", async () => {
      if (await this.#isLink()) return null;
      const text = await readOrEmpty(this.#path);
      const original = await this.#original();
      if (original !== text) await replaceFile(this.#path, original);
      await rm(this.#savedPath, { force: true });
      return null;
    });
  }

  /** From the file itself; from the saved copy when somebody cut into our lines. */
  async #original(): Promise<string> {
    return originalResolvConf(await readOrEmpty(this.#path)) ?? (await readOrEmpty(this.#savedPath));
  }

  async #isLink(): Promise<boolean> {
    try {
      return (await lstat(this.#path)).isSymbolicLink();
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  async #attempt(code: string, act: () => Promise<Condition | null>): Promise<Condition | null> {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error;
      const text = `Cannot change ${this.#path}: ${describeError(error)}`;
      return { code, severity: "warning", text, hint: `Make ${this.#path} writable for the agent` };
    }
  }
}

/** systemd-resolved and resolvconf own the file behind the link and would write over ours. */
function linkCondition(path: string, nameserver: Ipv4): Condition {
  return {
    code: "resolver-not-managed",
    severity: "info",
    text: `${path} is a link that another program manages, so names of the cluster do not resolve on this host itself`,
    hint: `resolvectl dns apollo0 ${nameserver} && resolvectl domain apollo0 '~consul'`,
  };
}

async function readOrEmpty(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return "";
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

/** Whole or not at all, with the mode it had; in place where the file is a mount, which cannot be renamed over. */
async function replaceFile(path: string, text: string): Promise<void> {
  const draft = `${path}.apollo`;
  try {
    await copyFile(path, draft, constants.COPYFILE_FICLONE).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
    const file = await open(draft, "w", 0o644);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (code !== "EBUSY" && code !== "EXDEV") throw error;
    await writeFile(path, text);
  }
}

/** For hosts whose resolver configuration is not ours to touch; asks `upstreams` only. */
export function fixedResolver(upstreams: readonly Ipv4[]): HostResolver {
  return {
    install: () => Promise.resolve(null),
    restore: () => Promise.resolve(null),
    nameservers: () => upstreams,
    refresh: () => Promise.resolve(),
  };
}
