import {
  type ChooseBlock,
  type CheckRangeClash,
  joinHost,
  type JoinGrant,
  type JoinRequest,
  removalOf,
} from "../cluster/join.ts";
import { readLeases } from "../cluster/leases.ts";
import { AppError } from "../model/error.ts";
import type { Host } from "../model/host.ts";
import { type HostId, parseHostName } from "../model/ids.ts";
import { parseHostAddress } from "../model/ip6.ts";
import type { Digest } from "../platform/ports/digest.ts";
import type { Clock } from "../platform/ports/clock.ts";
import type { Random } from "../platform/ports/random.ts";
import type { StoreWrite } from "../platform/ports/store.ts";
import type { ClusterServer } from "./cluster-server.ts";
import { keyOf } from "./cluster-state.ts";

export interface HostMembersDeps {
  readonly server: ClusterServer;
  readonly clock: Clock;
  readonly random: Random;
  readonly digest: Digest;
  readonly chooseBlock: ChooseBlock;
  readonly checkRangeClash: CheckRangeClash;
  /** What else is stored when a membership ends. */
  readonly farewell?: (host: Host) => readonly StoreWrite[];
}

/** A host that leaves waits so long for the others to know. */
const DRAIN_MS_MAX = 5000;
/** Requests that were under way then have so long for their answers, before the others take away their routes to the host. */
const ANSWER_MS = 1000;
const DRAIN_POLL_MS = 20;

/** What is done to the list of members: join, cordon, remove. */
export class HostMembers {
  readonly #deps: HostMembersDeps;

  constructor(deps: HostMembersDeps) {
    this.#deps = deps;
  }

  async join(
    request: Omit<JoinRequest, "address" | "name"> & { readonly name: string; readonly address: string },
  ): Promise<JoinGrant> {
    const { server, clock, random, digest, chooseBlock, checkRangeClash } = this.#deps;
    return joinHost(
      {
        random,
        digest,
        chooseBlock,
        checkRangeClash,
        store: server.state.store,
        nowMs: clock.nowMs(),
        settings: server.state.settings,
        reserved: server.state.fixedAddresses().map((address) => `${address}/32`),
        phaseOf: (id) => server.liveness.presenceOf(id).phase,
      },
      { ...request, name: parseHostName(request.name), address: parseHostAddress(request.address) },
    );
  }

  async setCordoned(name: string, cordoned: boolean): Promise<Host> {
    const { state } = this.#deps.server;
    const { id } = this.byName(name);
    return (await state.update<Host>(keyOf.host(id), (host) => ({ ...host, cordoned }))) ?? this.byName(name);
  }

  /** Ends a membership: its instances are forgotten and replaced elsewhere, its block is free again. */
  async remove(name: string, force: boolean): Promise<void> {
    const { state, liveness } = this.#deps.server;
    const host = this.byName(name);
    const instances = state.instancesByHost.get(host.id)?.size ?? 0;
    if (!force && liveness.presenceOf(host.id).phase !== "down") {
      throw new AppError("conflict", `Cannot remove host "${name}": it is up, with ${instances} instances`, {
        hint: `Run "apollo host cordon ${name}" and stop its agent first, or remove it with --force`,
      });
    }
    await this.#forget(host);
  }

  /**
   * The host itself says that it goes: nobody needs to confirm it. Returns its name, once no other host leads anyone to its
   * instances: what is answered here may be stopped there. Its peers know it until then: who was led to it gets his answer.
   */
  async leave(id: HostId): Promise<string> {
    const { server, clock } = this.#deps;
    const host = server.state.hosts.get(id);
    if (host === undefined) throw new AppError("not-found", `Cannot find host "${id}"`);
    server.hostGoes(id);
    const { revision } = server.catalog;
    const deadlineMs = clock.monotonicMs() + DRAIN_MS_MAX;
    while (!server.hub.drainedBy(revision) && clock.monotonicMs() < deadlineMs) await clock.sleep(DRAIN_POLL_MS);
    await clock.sleep(ANSWER_MS);
    await this.#forget(host);
    return host.name;
  }

  async #forget(host: Host): Promise<void> {
    const { state, hub, liveness } = this.#deps.server;
    for (;;) {
      const known = await readLeases(state.store);
      const { writes, conditions } = removalOf(host, known, this.#deps.clock.nowMs());
      const instances = [...(state.instancesByHost.get(host.id)?.values() ?? [])];
      const forget = instances.map((instance) => ({ kind: "delete", key: keyOf.instance(instance.id) }) as const);
      // Null: another lease was changed meanwhile.
      const more = this.#deps.farewell?.(host) ?? [];
      if ((await state.store.commit([...writes, ...forget, ...more], conditions)) !== null) break;
    }
    liveness.remove(host.id);
    hub.dropHost(host.id, host.name);
  }

  byName(name: string): Host {
    const { state } = this.#deps.server;
    const host = state.hostByName(name);
    if (host !== null) return host;
    const names = [...state.hosts.values()].map((each) => each.name).toSorted();
    throw new AppError("not-found", `Cannot find host "${name}"`, {
      hint: names.length === 0 ? "No host has joined yet" : `Hosts are ${names.slice(0, 10).join(", ")}`,
    });
  }
}
