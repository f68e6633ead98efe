import type { Command } from "commander";
import { renderExactJson } from "../model/exact-json.ts";
import { type CliContext, type ClientFlags, openSession } from "./cli-context.ts";
import { ConsulClient, encodePath } from "./consul-client.ts";

/** A key as the API tells it. */
export interface KeyJson {
  readonly Key: string;
  /** Base64; null for no value. */
  readonly Value: string | null;
  readonly Flags: number | bigint;
  readonly LockIndex: number;
  readonly Session?: string;
  readonly CreateIndex: number;
  readonly ModifyIndex: number;
}

export function keyPath(key: string): string {
  return `kv/${encodePath(key.replace(/^\//, ""))}`;
}

export function valueOf({ Value }: KeyJson): Uint8Array {
  return Value === null ? new Uint8Array() : Uint8Array.fromBase64(Value);
}

/** What the commands about keys work with; `print` shows numbers as they are, however long. */
export function openKv<Flags extends ClientFlags>(
  context: CliContext,
  command: Command,
): { readonly consul: ConsulClient; readonly flags: Flags; readonly print: (value: unknown) => void } {
  const { client, flags } = openSession<Flags>(context, command);
  const print = (value: unknown): void => context.stdout.write(`${renderExactJson(value, 2)}\n`);
  return { consul: new ConsulClient(client, context.signal), flags, print };
}
