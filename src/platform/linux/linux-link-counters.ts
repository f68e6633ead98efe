import { z } from "zod";
import { AppError } from "../../model/error.ts";
import type { HostAddress } from "../../model/ip6.ts";
import { parseHostAddress } from "../../model/ip6.ts";
import type { LinkCounters } from "../ports/link-counters.ts";
import type { LineRunner } from "../ports/runner.ts";

const setShape = z.object({
  nftables: z.array(z.object({ set: z.object({ elem: z.array(z.unknown()).optional() }).optional() })),
});
const elementShape = z.object({ elem: z.object({ val: z.string(), counter: z.object({ bytes: z.number() }) }) });

/** Reads sets of our table with nft. */
export class LinuxLinkCounters implements LinkCounters {
  readonly #runner: LineRunner;

  constructor(options: { readonly runner: LineRunner }) {
    this.#runner = options.runner;
  }

  async bytes(sets: readonly string[]): Promise<ReadonlyMap<HostAddress, number>> {
    const lists = await Promise.all(
      sets.map((set) =>
        this.#runner.run(["nft", "-j", "-n", "list", "set", "inet", "apollo", set], { okCodes: [0, 1] }),
      ),
    );
    return new Map(lists.flatMap(({ code, stdout }) => (code === 0 ? parseElements(stdout) : [])));
  }
}

/** Elements of other kinds are left out. @throws AppError `unavailable` for what nft never prints. */
export function parseElements(stdout: string): readonly (readonly [HostAddress, number])[] {
  let json: unknown;
  try {
    json = JSON.parse(stdout);
  } catch (cause) {
    throw new AppError("unavailable", "Cannot read what nft prints of a set: it is not JSON", { cause });
  }
  const read = setShape.safeParse(json);
  if (!read.success) throw new AppError("unavailable", "Cannot read what nft prints of a set", { cause: read.error });
  return read.data.nftables
    .flatMap(({ set }) => set?.elem ?? [])
    .flatMap((element) => {
      const found = elementShape.safeParse(element);
      if (!found.success) return [];
      const { val, counter } = found.data.elem;
      try {
        return [[parseHostAddress(val), counter.bytes] as const];
      } catch (error) {
        if (error instanceof AppError) return [];
        throw error;
      }
    });
}
