import { z } from "zod";
import { AppError } from "../../model/error.ts";
import type { Clock } from "../../platform/ports/clock.ts";
import { explainTrace } from "./explain-trace.ts";
import {
  type FarFacts,
  type NearFacts,
  type Told,
  type TraceQuestion,
  type TraceReport,
  farShape,
  nearShape,
} from "./trace-facts.ts";

/** Who is asked. */
export interface TraceWorld {
  /** Asks a host's agent. @throws AppError when it does not answer. */
  ask(host: string, question: { readonly kind: string; readonly [field: string]: unknown }): Promise<unknown>;
  /** Names of all hosts whose agents are connected. */
  readonly hosts: readonly string[];
  /** No server carries questions to other hosts: they are left out, and that is no finding. */
  readonly alone?: boolean;
  /** Addresses that the server would answer with; null when there is no server, or it cannot tell. */
  truth(name: string, family: 4 | 6): Promise<readonly string[] | null>;
  readonly clock: Clock;
}

/** The near host resolves, looks and tries: a second for the name, two for the connection, two for the packets. */
const LOCATE_MS = 2000;
const NEAR_MS = 5000;
const FAR_MS = 3000;
/** Containers that are not on the network are looked for on this many hosts. */
const SEARCHED_HOSTS_MAX = 64;
const SEARCH_MS = 1000;

const locatedShape = z.object({ host: z.string().max(253) });
const asideShape = z.object({ container: z.string().max(512), state: z.string().max(64) }).nullable();

/**
 * Walks from FROM to TO. At most 10 s: a host that does not answer in its time is the finding.
 * @param here host to start from when FROM is not given
 * @throws AppError `not-found` when nobody knows FROM, `invalid` when it is missing.
 */
export async function runTrace(world: TraceWorld, question: TraceQuestion, here: string | null): Promise<TraceReport> {
  const nearHost = await locate(world, question.from, here);
  const nearBegan = world.clock.monotonicMs();
  const near = await tell(world, nearHost, { kind: "trace-near", ...question }, { shape: nearShape, limitMs: NEAR_MS });
  if (!near.ok) return explainTrace({ question, nearHost, near, far: null, truth: null });
  const { facts } = near;
  const { endpoint, name } = facts;
  const [far, truth, aside] = await Promise.all([
    isAsked(world, endpoint?.host ?? null) ? askFar(world, question, facts) : null,
    name.asked === null ? null : world.truth(name.asked, facts.family).catch(nobody),
    name.addresses.length > 0 || name.aside !== null ? name.aside : findAside(world, question.to, nearHost),
  ]);
  const told: Told<NearFacts> = {
    ok: true,
    ms: Math.round(world.clock.monotonicMs() - nearBegan),
    facts: { ...facts, name: { ...name, aside } },
  };
  return explainTrace({ question, nearHost, near: told, far, truth });
}

async function locate(world: TraceWorld, from: string | null, here: string | null): Promise<string> {
  if (from === null) {
    if (here !== null) return here;
    throw new AppError("invalid", "Cannot trace: say who connects", {
      hint: "apollo net trace FROM TO[:PORT], with FROM an app, a container or host:NAME",
    });
  }
  if (from.startsWith("host:")) return from.slice("host:".length);
  const [first] = here !== null && world.hosts.includes(here) ? [here] : world.hosts;
  if (first === undefined) {
    throw new AppError("unavailable", "Cannot trace: no agent is connected", { hint: "apollo host list" });
  }
  const limits = { shape: locatedShape, limitMs: LOCATE_MS };
  const told = await tell(world, first, { kind: "trace-locate", from }, limits);
  if (told.ok) return told.facts.host;
  throw new AppError("not-found", told.why, told.hint === null ? {} : { hint: told.hint });
}

function isAsked({ alone = false, hosts }: TraceWorld, host: string | null): boolean {
  return host !== null && (!alone || hosts.includes(host));
}

function askFar(world: TraceWorld, { protocol }: TraceQuestion, near: NearFacts): Promise<Told<FarFacts>> {
  const { endpoint, from, packets } = near;
  const question = {
    kind: "trace-far",
    address: endpoint?.address,
    port: endpoint?.port ?? null,
    protocol,
    source: from.address,
    network: endpoint?.network ?? null,
    ...(packets === null ? {} : { bytes: packets.bytes }),
  };
  return tell(world, endpoint?.host ?? "", question, { shape: farShape, limitMs: FAR_MS });
}

async function findAside(world: TraceWorld, name: string, known: string): Promise<NearFacts["name"]["aside"]> {
  const others = world.hosts.filter((host) => host !== known).slice(0, SEARCHED_HOSTS_MAX);
  const found = await Promise.all(
    others.map((host) => tell(world, host, { kind: "trace-aside", name }, { shape: asideShape, limitMs: SEARCH_MS })),
  );
  const first = found.find((each) => each.ok && each.facts !== null);
  return first?.ok === true ? first.facts : null;
}

/** Asks a host, in the shape and time given. Never rejects for what a host does not do: that is what is looked for. */
export async function tell<Shape extends z.ZodType>(
  { ask, clock }: Pick<TraceWorld, "ask" | "clock">,
  host: string,
  question: { readonly kind: string; readonly [field: string]: unknown },
  { shape, limitMs }: { readonly shape: Shape; readonly limitMs: number },
): Promise<Told<z.infer<Shape>>> {
  const began = clock.monotonicMs();
  const ended = new AbortController();
  const late = clock.sleep(limitMs, ended.signal).then((): Told<never> => {
    return { ok: false, why: `the agent of ${host} does not answer within ${limitMs / 1000} s`, hint: null };
  });
  const answer = ask(host, question).then(
    (value): Told<z.infer<Shape>> => {
      const read = shape.safeParse(value);
      if (read.success) return { ok: true, facts: read.data, ms: Math.round(clock.monotonicMs() - began) };
      return {
        ok: false,
        why: `the agent of ${host} answers in another form: is it of another version?`,
        hint: "apollo host list",
      };
    },
    (error: unknown): Told<never> => {
      if (error instanceof AppError) return { ok: false, why: error.message, hint: error.hint ?? null };
      throw error;
    },
  );
  try {
    return await Promise.race([answer, late]);
  } finally {
    ended.abort();
  }
}

function nobody(error: unknown): null {
  if (error instanceof AppError) return null;
  throw error;
}
