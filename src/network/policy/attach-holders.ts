import type { Container } from "../../model/container.ts";
import { LABEL_APP, LABEL_INSTANCE } from "../../model/container.ts";
import type { Holder } from "../../model/holder.ts";
import type { Attachment } from "../attachment.ts";
import { formatTarget } from "../attachment.ts";

/** Attached containers as policy sees them: rules name them as they would on a network of the engine. */
export function attachHolders(
  attachments: readonly Attachment[],
  at: {
    readonly host: string;
    /** Of the engine; null while it does not answer. */
    readonly containers: readonly Container[] | null;
    /** Keys that policy rules name. */
    readonly labelKeys: ReadonlySet<string>;
  },
): readonly Holder[] {
  return attachments
    .map(({ owner, target, network, address, six, name }): Holder => {
      const what = formatTarget(target);
      const found = target.kind === "container" ? at.containers?.find((each) => each.name === target.name) : undefined;
      const labels = Object.entries(found?.labels ?? {}).filter(
        ([key, value]) => at.labelKeys.has(key) && value.length <= 255,
      );
      return {
        id: `${at.host}:${owner}`,
        address,
        ...(six === undefined ? {} : { address6: six.address }),
        network,
        host: at.host,
        container: target.kind === "container" ? what : (name ?? what),
        instance: found?.labels[LABEL_INSTANCE] ?? null,
        app: found?.labels[LABEL_APP] ?? null,
        services: [],
        labels: Object.fromEntries(labels.toSorted(([a], [b]) => (a < b ? -1 : 1))),
      };
    })
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
}
