import { cidrsOverlap, parseCidr } from "../model/ip.ts";
import { AppError } from "../model/error.ts";
import type { Condition } from "../model/wire.ts";
import { gatewayOf } from "../network/blocks.ts";
import { bridgeMac } from "../network/mac.ts";
import { ENGINE_NETWORK } from "../network/plan-engine-network.ts";
import type { DesiredFastPath } from "../network/plan-fast-path.ts";
import { planFastPath } from "../network/plan-fast-path.ts";
import { ReconcileLoop } from "../platform/loop/reconcile-loop.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { FastPath, FastPathAction, FastPathState } from "../platform/ports/fast-path.ts";
import type { Log } from "../platform/ports/log.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";

export interface FastPathPartOptions {
  readonly state: AgentState;
  readonly fastPath: FastPath;
  readonly clock: Clock;
  readonly log: Log;
  /** False: the operator wants none, and what an earlier agent left is taken away. */
  readonly enabled: boolean;
}

export type FastPathMode = { readonly on: true } | { readonly on: false; readonly why: string; readonly hint: string };

export interface FastPathPart extends AgentPart {
  /** Whether packets between containers take the fast path, and why not. */
  mode(): FastPathMode;
}

const STARTING: FastPathMode = { on: false, why: "the agent is starting", hint: "Wait a moment" };
const UNWANTED: FastPathMode = {
  on: false,
  why: "it was turned off",
  hint: "Start the agent without --no-fast-path and without APOLLO_FAST_PATH=off",
};

const NEEDS = "It needs Linux 5.12 with BPF, and tc; turn it off with --no-fast-path";

/** Two calls of the kernel a peer and port. */
const COUNT_MS = 5000;

/** Keeps the kernel's fast path as ports, ways and policy want it. Without it everything works, only slower. */
export function createFastPathPart({ state, fastPath, clock, log, enabled }: FastPathPartOptions): FastPathPart {
  let mode: FastPathMode = STARTING;
  let lastActions = "";
  /** Before that, missing ports mean nothing: a new agent must not take away what the one before it left. */
  let portsKnown = false;
  const failures = new Set<string>();

  function setMode(next: FastPathMode): void {
    if (JSON.stringify(next) === JSON.stringify(mode)) return;
    mode = next;
    state.setConditions("fast-path", next.on ? [] : [offCondition(next)]);
    if (next.on) log.info("fast path on");
    else log.info("fast path off", { why: next.why });
  }

  /** Null while there is no fast path to look after; `mode` then says why. */
  async function observe(): Promise<FastPathState | null> {
    const error = await open(fastPath, enabled);
    if (error === null && enabled) return fastPath.observe();
    setMode(error === null ? UNWANTED : failedMode(error));
    return null;
  }

  const loop = new ReconcileLoop<FastPathState | null, FastPathAction>(
    {
      name: "fast-path",
      observe,
      plan: (observed) => {
        const desired = desireFastPath(state);
        if (observed === null || desired === null || !portsKnown) return [];
        const actions = planFastPath(desired, observed);
        if (actions.length === 0) setMode({ on: true });
        return actions;
      },
      apply: (action) => fastPath.apply(action),
    },
    {
      clock,
      onFailure: (error, action) => {
        // Once may be a device that went away in mid-pass; what happens again is a state.
        if (failures.has(error.message)) return setMode(failedMode(error));
        failures.add(error.message);
        log.warn(error.message, { action, hint: error.hint, ...error.details });
      },
      onPass: (clean, actions) => {
        if (!clean) return;
        failures.clear();
        // The next pass sees that it worked, or that somebody undoes it; that one is left to the usual resync.
        const text = JSON.stringify(actions);
        if (actions.length > 0 && text !== lastActions) loop.poke();
        lastActions = text;
      },
    },
  );

  async function count(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const counters = mode.on ? await readCounters(fastPath) : null;
      state.linkBytes = counters?.peers ?? null;
      state.dnsCounts = counters?.dns ?? null;
      await clock.sleep(COUNT_MS, signal);
    }
  }

  return {
    name: "fast-path",
    run: async (signal) => {
      const ends = (["identity", "ways", "slow"] as const).map((topic) => state.on(topic, () => loop.poke()));
      const onPorts = state.on("ports", () => {
        portsKnown = true;
        loop.poke();
      });
      await Promise.all([loop.run(signal), count(signal)]);
      onPorts();
      for (const end of ends) end();
    },
    mode: () => mode,
  };
}

function failedMode(error: AppError): FastPathMode {
  return { on: false, why: error.message, hint: error.hint ?? NEEDS };
}

/** Null when they cannot be read: the loop finds out why, and says so. */
async function readCounters(fastPath: FastPath): Promise<Awaited<ReturnType<FastPath["counters"]>> | null> {
  try {
    return await fastPath.counters();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return null;
  }
}

/** Makes the kernel ready, or takes all of it away; says why it cannot. */
async function open(fastPath: FastPath, enabled: boolean): Promise<AppError | null> {
  try {
    await (enabled ? fastPath.open() : fastPath.remove());
    return null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return error;
  }
}

function offCondition({ why, hint }: Extract<FastPathMode, { on: false }>): Condition {
  const text = `Fast path off: ${why}; packets between hosts take the kernel's own way, and all DNS questions come to the agent`;
  return { code: "fast-path-off", severity: "info", text, hint };
}

/** Blocks of declared networks are behind borders that only the kernel's filter keeps. */
function isWithin(block: string, range: string): boolean {
  return cidrsOverlap(parseCidr(block), parseCidr(range));
}

/** Null until this host has a block and the network part has looked. */
function desireFastPath(state: AgentState): DesiredFastPath | null {
  const { identity, ways } = state;
  if (identity === null || identity.blocks.length === 0 || ways === null) return null;
  const { blocks } = identity;
  const { policy, virtual } = state.slowRanges();
  return {
    blocks,
    gatewayMac: bridgeMac(gatewayOf(blocks)),
    // Other networks may use the same addresses: their packets go the kernel's own way.
    ports: state.ports.filter(({ network }) => network === ENGINE_NETWORK),
    peers: ways.map((way) => ({
      ...way,
      blocks: way.blocks.filter((block) => isWithin(block, identity.settings.range)),
    })),
    slow: policy,
    virtual,
  };
}
