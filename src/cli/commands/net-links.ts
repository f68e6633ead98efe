import type { Command } from "commander";
import type { LinkJson } from "../../api/native/shapes.ts";
import { type CliContext, type ClientFlags, clientOptions, examples, openSession } from "../cli-context.ts";
import { withHost } from "../find-named.ts";
import { formatTable } from "../format-table.ts";
import { formatDuration } from "../format-time.ts";
import { type Paint, paintState } from "../style.ts";

type LinkFlags = ClientFlags & { readonly host?: string; readonly watch?: boolean };

/** Hosts tell their figures at most this often. */
const WATCH_MS = 2000;
/** Cursor to the corner, rest of the screen cleared. */
const HOME = "\u001B[H\u001B[J";

export function addNetLinks(net: Command, context: CliContext): void {
  const command = clientOptions(
    net
      .command("links")
      .description("show the path between each two hosts: its mode and why, round trip, loss, MTU, bytes")
      .option("--host <host>", "only those from this host")
      .option("--watch", "show anew every two seconds, until Ctrl-C"),
  );
  command.action(async () => {
    const { client, flags, paint, show } = openSession<LinkFlags>(context, command);
    const { host } = flags;
    const path = host === undefined ? "/api/links" : `/api/links?host=${encodeURIComponent(host)}`;
    const ask = (): Promise<readonly LinkJson[]> => client.get<readonly LinkJson[]>(path);
    do {
      const links = await (host === undefined ? ask() : withHost(client, host, ask));
      if (flags.watch === true && flags.json !== true && context.stdout.isTty) context.stdout.write(HOME);
      show(links, () => formatLinks(links, paint, context.clock.nowMs()));
      if (flags.watch === true) await context.clock.sleep(WATCH_MS, context.signal);
    } while (flags.watch === true && !context.signal.aborted);
  });
  examples(command, [
    ["All links", "apollo net links"],
    ["From one host, as they change", "apollo net links --host host-1 --watch"],
  ]);
}

/** The table of `apollo net links`. */
export function formatLinks(links: readonly LinkJson[], paint: Paint, nowMs: number): string {
  if (links.length === 0) return "No links: they are there once two hosts are up.\n";
  return formatTable<LinkJson>(
    [
      { title: "HOST", value: (one) => paint("bold", one.host) },
      { title: "PEER", value: (one) => one.peer },
      { title: "MODE", value: (one) => one.mode + (one.via === null ? "" : ` via ${one.via}`) },
      { title: "STATE", value: (one) => paintState(paint, one.up === null ? "unknown" : one.up ? "up" : "down") },
      { title: "RTT", value: (one) => (one.rttMs === null ? "-" : `${one.rttMs.toFixed(2)} ms`), align: "right" },
      { title: "LOSS", value: (one) => `${one.lossPercent} %`, align: "right" },
      { title: "MTU", value: (one) => String(one.mtu ?? "-"), align: "right" },
      { title: "SENT", value: (one) => formatCounted(one.txBytes), align: "right" },
      { title: "RECEIVED", value: (one) => formatCounted(one.rxBytes), align: "right" },
      { title: "ENCRYPTION", value: (one) => one.encryption },
      { title: "SINCE", value: (one) => formatDuration(Math.max(0, nowMs - one.sinceMs)) },
      { title: "WHY", value: (one) => one.why },
    ],
    links,
  );
}

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

/** Decimal units, as networks count; "-" where nothing is counted. */
function formatCounted(bytes: number | null): string {
  if (bytes === null) return "-";
  const power = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${UNITS[power] ?? ""}`;
}
