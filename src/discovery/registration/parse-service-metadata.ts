/**
 * The `SERVICE_*` conventions of registrator, from a container's environment and labels:
 *
 *   SERVICE_NAME  SERVICE_TAGS  SERVICE_ID  SERVICE_IGNORE  SERVICE_<anything>      for all ports
 *   SERVICE_<port>_NAME and so on                                                   for one port; wins over the general form
 *
 * Of the same form in environment and label the label wins. Keys are folded to lower case behind the prefix.
 */
export interface ServiceMetadata {
  /** Null where none was given. */
  readonly name: string | null;
  /** The name was given for this port, so it is taken as it is. */
  readonly nameIsForPort: boolean;
  readonly tags: readonly string[];
  readonly id: string | null;
  readonly ignore: boolean;
  /** All the rest. */
  readonly meta: Readonly<Record<string, string>>;
}

export interface MetadataSources {
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
}

const PREFIX = "SERVICE_";
const FOR_PORT = /^([0-9]{1,5})_(.+)$/;

/** Whether a container takes part in registration at all. */
export function hasServiceMetadata({ env, labels }: MetadataSources): boolean {
  return [...Object.keys(env), ...Object.keys(labels)].some((key) => key.startsWith(PREFIX));
}

export function parseServiceMetadata({ env, labels }: MetadataSources, port: number): ServiceMetadata {
  const general = new Map<string, string>();
  const forPort = new Map<string, string>();
  for (const [variable, value] of [...sortedEntries(env), ...sortedEntries(labels)]) {
    if (!variable.startsWith(PREFIX) || variable.length === PREFIX.length) continue;
    const key = variable.slice(PREFIX.length).toLowerCase();
    const [, number, rest] = FOR_PORT.exec(key) ?? [];
    if (number === undefined || rest === undefined) general.set(key, value);
    else if (Number(number) === port) forPort.set(rest, value);
  }
  const all = new Map([...general, ...forPort]);
  const text = (key: string): string | null => {
    const value = all.get(key) ?? "";
    return value === "" ? null : value;
  };
  const own = new Set(["name", "tags", "id", "ignore"]);
  return {
    name: text("name"),
    nameIsForPort: (forPort.get("name") ?? "") !== "",
    tags: splitTags(all.get("tags") ?? ""),
    id: text("id"),
    // Any text counts, "false" too: that is registrator's rule, and images rely on it.
    ignore: text("ignore") !== null,
    meta: Object.fromEntries([...all].filter(([key]) => !own.has(key)).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  };
}

function sortedEntries(record: Readonly<Record<string, string>>): readonly (readonly [string, string])[] {
  return Object.entries(record).toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** "a,b\,c" → a and "b,c"; empty parts are left out. */
export function splitTags(text: string): readonly string[] {
  const tags: string[] = [];
  let tag = "";
  for (let index = 0; index < text.length; index++) {
    const character = text[index] ?? "";
    if (character === "\\" && text[index + 1] === ",") {
      tag += ",";
      index += 1;
    } else if (character === ",") {
      tags.push(tag);
      tag = "";
    } else {
      tag += character;
    }
  }
  const trimmed = [...tags, tag].map((each) => each.trim()).filter((each) => each !== "");
  return [...new Set(trimmed)];
}
