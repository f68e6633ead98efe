import { z } from "zod";
import type { Container } from "../model/container.ts";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import { isIpv4 } from "../model/ip.ts";
import type { Ipv6 } from "../model/ip6.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import { address6Of } from "../network/address6.ts";
import type { AttachTarget, Attachment, Exposure } from "../network/attachment.ts";
import { formatTarget, parseTarget, wireDevice } from "../network/attachment.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Wiring } from "../platform/ports/wiring.ts";
import type { AgentState } from "./agent-state.ts";
import type { AttachPart } from "./attach-part.ts";
import type { BridgeFor } from "./local-network.ts";
import { requireNetwork } from "./local-network.ts";

export interface AttachQueriesOptions {
  readonly state: AgentState;
  readonly part: AttachPart;
  readonly engine: Pick<Engine, "inspectContainer">;
  readonly wiring: Pick<Wiring, "namespaceAt" | "processStart">;
  readonly bridgeFor: BridgeFor;
}

/** What `apollo net attach` and its kin print. */
export interface AttachmentRow {
  readonly what: string;
  readonly address: Ipv4;
  /** Null without one. */
  readonly address6: Ipv6 | null;
  readonly name: string | null;
  readonly network: string;
  /** Host's end of the wire while it is there. */
  readonly device: string | null;
}

/** What `apollo net expose` prints. */
export type ExposureRow = Pick<AttachmentRow, "address" | "address6" | "name">;

const address = z.custom<Ipv4>((value) => typeof value === "string" && isIpv4(value), "must be an IPv4 address");
const name = z
  .string()
  .toLowerCase()
  .regex(/^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/, "must be a DNS name");
const target = z.string().min(1).max(1100);
const attachShape = z.strictObject({
  target,
  address: address.optional(),
  name: name.optional(),
  network: z.string().max(63).default(DEFAULT_NETWORK),
  multicast: z.boolean().default(true),
});
const exposeShape = z.strictObject({ address: address.optional(), name: name.optional() });
/** From all networks unless one is named. */
const detachShape = z.strictObject({ target, network: z.string().max(63).optional() });

/** The interface inside a namespace that `attach` made. */
const INTERFACE = "apollo";
const INTERFACE_LENGTH_MAX = 15;
/** In an engine's container list, the network of the host itself. */
const HOST_NETWORK = "host";
const OWN_NAMESPACE = "/proc/self/ns/net";

/** Answers `attach`, `detach`, `expose`, `hide` and `attachments`. */
export function registerAttachQueries(options: AttachQueriesOptions): void {
  const { state, part } = options;
  state.queries.register("attach", async (fields) => rowOf(await attach(options, parse(attachShape, fields)), part));
  state.queries.register("detach", async (fields) => {
    const { target: text, network } = parse(detachShape, fields);
    const wanted = parseTarget(text);
    const named = wanted.kind === "container" ? await nameOf(options, wanted.text) : null;
    const gone = await part.detach(
      ({ target: each, owner, network: on }) =>
        owner.startsWith("attach:") && fits(each, wanted, named) && (network ?? on) === on,
    );
    if (gone.length > 0) return gone.map((each) => rowOf(each, part));
    throw new AppError("not-found", `Cannot detach "${text}": it is not attached`, { hint: "apollo net attachments" });
  });
  state.queries.register("expose", async (fields) => {
    const wish = parse(exposeShape, fields);
    requireNetwork(options.bridgeFor, DEFAULT_NETWORK);
    const exposure = await part.expose({ address: wish.address ?? null, name: wish.name ?? null });
    return exposureRow(options, exposure);
  });
  state.queries.register("hide", async (fields) => {
    const wish = parse(exposeShape, fields);
    const gone = await part.hide(
      (each) =>
        (wish.address === undefined || each.address === wish.address) &&
        (wish.name === undefined || each.name === wish.name),
    );
    return gone.map((each) => exposureRow(options, each));
  });
  state.queries.register("attachments", async () => {
    const { attachments, exposures } = await part.declared();
    return {
      attachments: attachments.map((each) => rowOf(each, part)),
      exposures: exposures.map((each) => exposureRow(options, each)),
    };
  });
}

async function attach(options: AttachQueriesOptions, wish: z.infer<typeof attachShape>): Promise<Attachment> {
  const { part, bridgeFor } = options;
  const { gateway, prefix, layer2 } = requireNetwork(bridgeFor, wish.network);
  const found = await findTarget(options, wish.target, wish.network);
  return part.attach({
    owner: `attach:${formatTarget(found.target)}@${wish.network}`,
    target: found.target,
    network: wish.network,
    address: wish.address ?? null,
    prefix,
    gateway,
    // A container's own name is known anyway; a process has none.
    name: wish.name ?? found.name,
    // A container may be on several.
    interfaceName: wish.network === DEFAULT_NETWORK ? INTERFACE : wish.network.slice(0, INTERFACE_LENGTH_MAX),
    defaultRoute: layer2 ? "never" : "if-none",
    multicast: wish.multicast,
    routes: [],
    ownAddress: true,
  });
}

async function findTarget(
  options: AttachQueriesOptions,
  text: string,
  network: string,
): Promise<{ readonly target: AttachTarget; readonly name: string | null }> {
  const { wiring } = options;
  const wanted = parseTarget(text);
  if (wanted.kind === "container") {
    const container = await requireContainer(options, wanted.text, network);
    return { target: { kind: "container", name: container.name }, name: dnsNameOf(container.name) };
  }
  const path = wanted.kind === "pid" ? `/proc/${wanted.pid}/ns/net` : wanted.path;
  const namespace = await wiring.namespaceAt(path);
  if (namespace === null) {
    throw new AppError("not-found", `Cannot attach "${text}": there is no network namespace at ${path}`, {
      hint: wanted.kind === "pid" ? "See whether the process runs: ps -p PID" : "See what there is: ip netns list",
    });
  }
  if (namespace === (await wiring.namespaceAt(OWN_NAMESPACE))) throw onHostNetwork(text);
  if (wanted.kind === "netns") return { target: wanted, name: null };
  const start = await wiring.processStart(wanted.pid);
  if (start === null) throw new AppError("not-found", `Cannot attach "${text}": the process has just ended`);
  return { target: { kind: "pid", pid: wanted.pid, start }, name: null };
}

async function requireContainer({ engine }: AttachQueriesOptions, text: string, network: string): Promise<Container> {
  const container = await engine.inspectContainer(text);
  if (container === null) {
    throw new AppError("not-found", `Cannot attach "${text}": the container engine knows no such container`, {
      hint: "docker ps; containers of other runtimes by pid:NUMBER or netns:/PATH",
    });
  }
  if (HOST_NETWORK in container.addresses) throw onHostNetwork(text);
  const there = container.addresses[network];
  if (there !== undefined) {
    throw new AppError(
      "conflict",
      `Cannot attach "${text}": it is on network "${network}" already, with address ${there}`,
    );
  }
  return container;
}

function onHostNetwork(text: string): AppError {
  return new AppError("invalid", `Cannot attach "${text}": it is on the host's own network`, {
    hint: "The host reaches all containers as it is; give it an address of its own with: apollo net expose",
  });
}

async function nameOf({ engine }: AttachQueriesOptions, text: string): Promise<string> {
  // Also without the engine, or after the container is gone: then the text is the name.
  const container = await engine.inspectContainer(text).catch((error: unknown) => {
    if (error instanceof AppError) return null;
    throw error;
  });
  return container?.name ?? text;
}

function fits(each: AttachTarget, wanted: ReturnType<typeof parseTarget>, named: string | null): boolean {
  if (each.kind === "container") return each.name === named;
  if (each.kind === "pid") return wanted.kind === "pid" && wanted.pid === each.pid;
  return wanted.kind === "netns" && wanted.path === each.path;
}

/** Null for a container whose name DNS cannot have. */
function dnsNameOf(text: string): string | null {
  return name.safeParse(text).data ?? null;
}

function rowOf(attachment: Attachment, part: AttachPart): AttachmentRow {
  const device = wireDevice("at", attachment.owner);
  const { network, target: what } = attachment;
  return {
    what: formatTarget(what),
    address: attachment.address,
    address6: attachment.six?.address ?? null,
    name: attachment.name,
    network,
    device: part.wiredPorts()?.some((port) => port.device === device) === true ? device : null,
  };
}

function exposureRow({ bridgeFor }: AttachQueriesOptions, { address, name: as }: Exposure): ExposureRow {
  const six = bridgeFor(DEFAULT_NETWORK)?.six ?? null;
  return { address, address6: six === null ? null : address6Of(six.part, address), name: as };
}

/** Reads the fields of a question. @throws AppError `invalid` that names the field. */
export function parse<Shape extends z.ZodType>(shape: Shape, fields: unknown): z.infer<Shape> {
  const result = shape.safeParse(fields);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new AppError("invalid", `Cannot use "${issue?.path.join(".") || "question"}": ${issue?.message}`);
}
