import type { Container } from "../model/container.ts";
import { AppError } from "../model/error.ts";
import type { Ipv4 } from "../model/ip.ts";
import type { Cidr6 } from "../model/ip6.ts";
import { DEFAULT_NETWORK, policyLabelKeys } from "../model/network-config.ts";
import type { Condition } from "../model/wire.ts";
import type { AddressSource } from "../network/address-source.ts";
import type { Attachment, DeclaredWiring, Exposure } from "../network/attachment.ts";
import { NOTHING_DECLARED, formatTarget, parseDeclaredWiring, wireDevice } from "../network/attachment.ts";
import type { LocalPort } from "../network/local-port.ts";
import type { ObservedWiring, WiringAction } from "../network/plan-attachments.ts";
import { planAttachments } from "../network/plan-attachments.ts";
import { address6Of } from "../network/address6.ts";
import { wireEnd6 } from "../network/wire6.ts";
import { attachHolders } from "../network/policy/attach-holders.ts";
import { ReconcileLoop } from "../platform/loop/reconcile-loop.ts";
import { settle } from "../platform/loop/settle.ts";
import { Turns } from "../platform/loop/turns.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { Log } from "../platform/ports/log.ts";
import type { StateFile } from "../platform/ports/state-file.ts";
import type { Wiring } from "../platform/ports/wiring.ts";
import type { AgentPart, AgentState } from "./agent-state.ts";
import type { FoundNamespace } from "./find-namespace.ts";
import { findNamespace } from "./find-namespace.ts";
import type { BridgeFor, LocalNetwork } from "./local-network.ts";

export interface AttachPartOptions {
  readonly state: AgentState;
  readonly engine: Pick<Engine, "listContainers" | "watch">;
  readonly wiring: Wiring;
  readonly book: AddressSource;
  readonly file: StateFile;
  readonly clock: Clock;
  readonly log: Log;
  readonly bridgeFor: BridgeFor;
}

/** Null: an address of the address book's choice. */
export type AttachWish = Omit<Attachment, "address" | "six"> & { readonly address: Ipv4 | null };

/** A container that starts or dies is several events. */
const SETTLE_MS = 100;
/** A namespace or process that goes gives no event. */
const RESYNC_MS = 10_000;
/** Where nothing is declared and no wire is there, only what somebody leaves behind by hand could be found. */
const RESYNC_IDLE_MS = 30_000;
const QUIET_EVENTS = /^(exec_|create|attach|detach|top|resize|copy|export|commit|archive|extract|health_status)/;

/** Who holds addresses for what is declared here; the engine's plugin has others. */
const OWNERS = /^(attach|cni|expose):/;

/** Keeps declared wires and exposed addresses as they were declared: over restarts of containers, engine, agent and host. */
export class AttachPart implements AgentPart {
  readonly name = "attach";
  readonly #options: AttachPartOptions;
  readonly #turns = new Turns();
  readonly #loop: ReconcileLoop<ObservedWiring | null, WiringAction>;
  #declared: DeclaredWiring | null = null;
  #containers: readonly Container[] | null = null;
  #ports: readonly LocalPort[] | null = null;
  #holders = "";
  #conditions = "[]";
  /** By owner: why its wire could not be made in the last pass. */
  readonly #faults = new Map<string, AppError>();

  constructor(options: AttachPartOptions) {
    this.#options = options;
    options.state.expectHolders(this.name);
    this.#loop = new ReconcileLoop<ObservedWiring | null, WiringAction>(
      {
        name: "attach",
        observe: () => this.#observe(),
        plan: (observed) => this.#plan(observed),
        apply: (action) => this.#apply(action),
      },
      {
        clock: options.clock,
        resyncMs: () => (this.#isIdle() ? RESYNC_IDLE_MS : RESYNC_MS),
        within: (pass) => this.#turns.take(pass),
        onFailure: (error, action) => this.#blame(error, action),
        onPass: (clean, actions) => {
          // Ports have numbers once they are there.
          if (clean && actions.length > 0) this.#loop.poke();
          if (clean && actions.length === 0) this.#reclaim();
        },
      },
    );
  }

  async run(signal: AbortSignal): Promise<void> {
    const { state, engine, clock } = this.#options;
    const poke = (): void => this.#loop.poke();
    const changed = settle(poke, SETTLE_MS, { clock, signal });
    // The bridge comes with the network part's passes, and that says so by its conditions and the host's identity.
    const stops = (["identity", "conditions", "network-config", "declared"] as const).map((topic) =>
      state.on(topic, changed),
    );
    const watching = engine.watch((event) => {
      if (event.kind === "network" || (event.kind === "container" && QUIET_EVENTS.test(event.action))) return;
      // A busy engine is not asked for nothing: only a container that is attached makes its events matter at once.
      if (this.#declared?.attachments.some(({ target }) => target.kind === "container") === true) changed();
    }, signal);
    await Promise.all([this.#loop.run(signal), watching]);
    for (const stop of stops) stop();
  }

  /** The host's ends of all declared wires that are there; null before the first look. */
  wiredPorts(): readonly LocalPort[] | null {
    return this.#ports;
  }

  /**
   * As the engine listed them last, null before it did; asking it from within one of its own calls would wait for that
   * call.
   */
  containers(): readonly Container[] | null {
    return this.#containers;
  }

  async declared(): Promise<DeclaredWiring> {
    return this.#turns.take(() => this.#load());
  }

  /**
   * Declares an attachment and makes it now. The same again changes nothing. What cannot be made is not declared.
   * @throws AppError `conflict` when the owner has another one, and as the address book and the kernel say.
   */
  attach(wish: AttachWish): Promise<Attachment> {
    const { book } = this.#options;
    return this.#turns.take(async () => {
      const before = await this.#load();
      const old = before.attachments.find(({ owner }) => owner === wish.owner);
      if (old !== undefined) {
        if (wish.address !== null && wish.address !== old.address) throw alreadyAttached(old);
        await this.#pass();
        return old;
      }
      await this.#list();
      const address = wish.ownAddress
        ? await book.take(wish.owner, wish.address ?? undefined, wish.network)
        : wish.address;
      if (address === null) throw new Error(`Expected an address for ${wish.owner}`);
      const six = this.#localOf(wish.network)?.six ?? null;
      const attachment: Attachment = { ...wish, address, ...(six === null ? {} : { six: wireEnd6(six, address) }) };
      await this.#store({ ...before, attachments: [...before.attachments, attachment] });
      this.#faults.delete(wish.owner);
      try {
        await this.#pass();
        const fault = this.#faults.get(wish.owner);
        if (fault !== undefined) throw fault;
        return attachment;
      } catch (error) {
        await this.#store(before);
        await book.release(wish.owner);
        throw error;
      }
    });
  }

  /** Takes wires away and gives their addresses back; returns what was there. */
  detach(fits: (attachment: Attachment) => boolean): Promise<readonly Attachment[]> {
    return this.#turns.take(async () => {
      const before = await this.#load();
      const gone = before.attachments.filter(fits);
      if (gone.length === 0) return [];
      await this.#store({ ...before, attachments: before.attachments.filter((each) => !fits(each)) });
      await this.#pass();
      for (const { owner, ownAddress } of gone) if (ownAddress) await this.#options.book.release(owner);
      return gone;
    });
  }

  /** The same name, or the same address, again changes nothing. */
  expose(wish: { readonly address: Ipv4 | null; readonly name: string | null }): Promise<Exposure> {
    return this.#turns.take(async () => {
      const before = await this.#load();
      const old = before.exposures.find(
        (each) => each.name === wish.name && (wish.address === null || each.address === wish.address),
      );
      if (old !== undefined) return old;
      await this.#list();
      const owner = `expose:${wish.name ?? ""}:${wish.address ?? ""}`;
      const address = await this.#options.book.take(owner, wish.address ?? undefined);
      const exposure: Exposure = { owner, address, name: wish.name };
      await this.#store({ ...before, exposures: [...before.exposures, exposure] });
      await this.#pass();
      return exposure;
    });
  }

  hide(fits: (exposure: Exposure) => boolean): Promise<readonly Exposure[]> {
    return this.#turns.take(async () => {
      const before = await this.#load();
      const gone = before.exposures.filter(fits);
      if (gone.length === 0) return [];
      await this.#store({ ...before, exposures: before.exposures.filter((each) => !fits(each)) });
      await this.#pass();
      for (const { owner } of gone) await this.#options.book.release(owner);
      return gone;
    });
  }

  #isIdle(): boolean {
    const { attachments, exposures } = this.#declared ?? NOTHING_DECLARED;
    return attachments.length === 0 && exposures.length === 0 && this.#ports?.length === 0;
  }

  /** One pass within a turn that is taken already. */
  async #pass(): Promise<void> {
    try {
      for (const action of this.#plan(await this.#observe())) {
        await this.#apply(action).catch((error: unknown) => {
          if (!(error instanceof AppError)) throw error;
          this.#blame(error, action);
        });
      }
    } finally {
      this.#loop.poke();
    }
  }

  /** A detach that failed half-way, its wire gone by now, has its address still. */
  #reclaim(): void {
    const { book } = this.#options;
    const { attachments, exposures } = this.#declared ?? NOTHING_DECLARED;
    const owners = new Set([...attachments, ...exposures].map(({ owner }) => owner));
    const lost = [...book.owners().keys()].filter((owner) => OWNERS.test(owner) && !owners.has(owner));
    for (const owner of lost) {
      const release = async (): Promise<void> => {
        const now = await this.#load();
        if ([...now.attachments, ...now.exposures].every((each) => each.owner !== owner)) await book.release(owner);
      };
      void this.#turns.take(release).catch((error: unknown) => this.#warn(error));
    }
  }

  async #load(): Promise<DeclaredWiring> {
    const { file } = this.#options;
    this.#declared ??= parseDeclaredWiring(await file.read(), file.path);
    return this.#declared;
  }

  async #store(declared: DeclaredWiring): Promise<void> {
    await this.#options.file.write(`${JSON.stringify(declared, null, 2)}\n`);
    this.#declared = declared;
    this.#publishNames(declared);
  }

  async #observe(): Promise<ObservedWiring | null> {
    const { wiring, state } = this.#options;
    const declared = await this.#load();
    this.#publishNames(declared);
    if (state.identity === null) return null;
    const [listed, kernel] = await Promise.all([this.#list(), wiring.observe()]);
    const namespaces = new Map<string, FoundNamespace | null>();
    for (const { owner, target } of declared.attachments) {
      const found = await findNamespace(target, listed, wiring);
      if (found !== undefined) namespaces.set(owner, found);
    }
    return { state: kernel, containers: listed, namespaces };
  }

  /** Null when the engine does not answer; what it said last is kept. */
  async #list(): Promise<readonly Container[] | null> {
    try {
      this.#containers = await this.#options.engine.listContainers();
      return this.#containers;
    } catch (error) {
      if (error instanceof AppError) return null;
      throw error;
    }
  }

  #plan(observed: ObservedWiring | null): readonly WiringAction[] {
    const declared = this.#declared ?? NOTHING_DECLARED;
    if (observed === null) return [];
    const plan = planAttachments(declared, observed, {
      bridgeOf: (network) => this.#localOf(network)?.bridge ?? null,
      host6: this.#host6(),
    });
    if (JSON.stringify(plan.ports) !== JSON.stringify(this.#ports)) {
      this.#ports = plan.ports;
      this.#options.state.emit("wired");
    }
    this.#tellHolders(declared.attachments, observed.containers);
    const failed = [...this.#faults].filter(([owner]) => declared.attachments.some((each) => each.owner === owner));
    this.#report([...plan.conditions, ...failed.map(([, error]) => failedCondition(error))]);
    this.#faults.clear();
    if (plan.ended.length > 0)
      void this.detach(({ owner }) => plan.ended.includes(owner)).catch((error: unknown) => this.#warn(error));
    return plan.actions;
  }

  #tellHolders(attachments: readonly Attachment[], containers: readonly Container[] | null): void {
    const { state } = this.#options;
    const labelKeys = policyLabelKeys(state.networkConfig.policies);
    const host = state.identity?.hostName ?? "";
    const holders = attachHolders(attachments, { host, containers: containers ?? this.#containers, labelKeys });
    const text = JSON.stringify(holders);
    if (text === this.#holders) return;
    this.#holders = text;
    state.setLocalHolders(this.name, holders);
  }

  #host6(): Cidr6 | null {
    return this.#localOf(DEFAULT_NETWORK)?.six?.part ?? null;
  }

  #localOf(network: string): LocalNetwork | null {
    try {
      return this.#options.bridgeFor(network);
    } catch (error) {
      if (error instanceof AppError) return null;
      throw error;
    }
  }

  async #apply(action: WiringAction): Promise<void> {
    const { wiring, log } = this.#options;
    if (action.kind !== "mend") log.info("wiring changed", { action });
    switch (action.kind) {
      case "connect":
        return wiring.connect(action.wire);
      case "mend":
        return wiring.mend(action);
      case "disconnect":
        return wiring.disconnect(action.device);
      case "expose":
        return wiring.expose(action.address);
      case "hide":
        return wiring.hide(action.address);
    }
  }

  #blame(error: AppError, action: WiringAction | undefined): void {
    if (action?.kind === "connect") this.#faults.set(action.owner, error);
    if (action === undefined) this.#report([failedCondition(error)]);
    this.#warn(error);
  }

  #warn(error: unknown): void {
    if (!(error instanceof AppError)) throw error;
    this.#options.log.warn(error.message, { hint: error.hint, ...error.details });
  }

  #report(conditions: readonly Condition[]): void {
    const text = JSON.stringify(conditions);
    if (text === this.#conditions) return;
    this.#conditions = text;
    this.#options.state.setConditions("attach", conditions);
  }

  #publishNames(declared: DeclaredWiring): void {
    const host6 = this.#host6();
    const exposures = declared.exposures.map((each) => ({
      ...each,
      address6: host6 === null ? null : address6Of(host6, each.address),
    }));
    const attachments = declared.attachments.map((each) => ({ ...each, address6: each.six?.address ?? null }));
    const names = [...attachments, ...exposures].flatMap(({ owner, name, address, address6 }) =>
      name === null ? [] : [{ owner, name: name.toLowerCase(), address, address6 }],
    );
    this.#options.state.setNames(names);
  }
}

function alreadyAttached({ target, address, owner }: Attachment): AppError {
  const what = formatTarget(target);
  return new AppError("conflict", `Cannot attach ${what}: it is attached with address ${address}`, {
    hint: `Detach it first: apollo net detach ${what}`,
    details: { owner, device: wireDevice("at", owner) },
  });
}

function failedCondition(error: AppError): Condition {
  return {
    code: "attachment-failed",
    severity: "warning",
    text: error.message,
    hint: error.hint ?? "See the agent's log",
  };
}
