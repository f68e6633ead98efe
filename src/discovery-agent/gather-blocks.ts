/** HCL says a list as blocks of one name, and one block may be a list of one: here what Consul's configuration means by them. */

type Body = Readonly<Record<string, unknown>>;

const LISTS: readonly (readonly [one: string, many: string])[] = [
  ["service", "services"],
  ["check", "checks"],
];
/** Of these there is one, however many blocks it was written in. */
const SINGLE = ["ports", "limits", "acl"];

/** A whole file. */
export function gatherBlocks(file: Body): Body {
  const gathered = gather(file);
  const watches = listOf(gathered["watches"]);
  const services = gathered["services"];
  const single = SINGLE.flatMap((name) =>
    Array.isArray(gathered[name]) ? [[name, Object.assign({}, ...(gathered[name] as readonly object[]))] as const] : [],
  );
  return {
    ...gathered,
    ...Object.fromEntries(single),
    ...(watches.length === 0 ? {} : { watches }),
    ...(Array.isArray(services) ? { services: services.map((each) => (isBody(each) ? gather(each) : each)) } : {}),
  };
}

/** `service` and `services`, each one or many, become `services`. */
function gather(body: Body): Body {
  const rest = Object.entries(body).filter(([name]) => !LISTS.some((names) => names.some((each) => each === name)));
  const lists = LISTS.flatMap(([one, many]) => {
    const all = [...listOf(body[one]), ...listOf(body[many])];
    return all.length === 0 ? [] : [[many, all] as const];
  });
  return Object.fromEntries([...rest, ...lists]);
}

function listOf(value: unknown): readonly unknown[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

function isBody(value: unknown): value is Body {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
