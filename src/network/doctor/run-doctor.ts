import { type TraceWorld, tell } from "../trace/run-trace.ts";
import type { Told } from "../trace/trace-facts.ts";
import { choosePairs } from "./choose-pairs.ts";
import { type DoctorHost, type DoctorReport, type HostFacts, hostFactsShape } from "./doctor-facts.ts";
import { explainDoctor } from "./explain-doctor.ts";

/** The exchange of datagrams takes 2.5 s, looking around a second. */
const HOST_MS = 8000;
const EXCHANGE_MS = 2500;

export interface DoctorWish {
  /** All members, up or not. */
  readonly hosts: readonly DoctorHost[];
  /** Only this one and its pairs. */
  readonly only: string | null;
  /** 32 hex digits that nobody can guess. */
  readonly token: string;
}

/** Asks all hosts concerned at once, since they listen for each other, and says what it means. At most about 8 s. */
export async function runDoctor(world: Pick<TraceWorld, "ask" | "clock">, wish: DoctorWish): Promise<DoctorReport> {
  const { token, only } = wish;
  const pairs = choosePairs(wish.hosts, only);
  const skews = new Map<string, { readonly skewMs: number; readonly errorMs: number }>();
  const told = new Map<string, Told<HostFacts>>();
  await Promise.all(
    [...pairs].map(async ([host, peers]) => {
      const [sentMs, began] = [world.clock.nowMs(), world.clock.monotonicMs()];
      const asked = peers.map(({ name, address }) => ({ name, address }));
      const question = { kind: "doctor", token, peers: asked, forMs: EXCHANGE_MS };
      const answer = await tell(world, host, question, { shape: hostFactsShape, limitMs: HOST_MS });
      told.set(host, answer);
      if (!answer.ok) return;
      // The host read its clock when the question came: between now and then lies what it did not spend on its window.
      const wayMs = Math.max(0, world.clock.monotonicMs() - began - EXCHANGE_MS);
      skews.set(host, { skewMs: answer.facts.nowMs - sentMs - wayMs / 2, errorMs: wayMs / 2 });
    }),
  );
  const chosen = only === null ? wish.hosts : wish.hosts.filter(({ name }) => pairs.has(name));
  const report = explainDoctor({ hosts: chosen, pairs, told, skews });
  if (only === null) return report;
  // Of the others only what they say of this one.
  const findings = report.findings.filter(({ host, peer }) => host === only || peer === only || host === null);
  return { ...report, findings, ok: findings.every(({ state }) => state === "ok") };
}
