import { systemClock } from "../platform/clock/system-clock.ts";
import type { EtcdProcess } from "../platform/etcd/etcd-process.ts";
import { beginForming, hasBegunForming } from "./begin-forming.ts";
import { beginGroup } from "./begin-group.ts";
import { chooseFounder } from "./choose-founder.ts";
import type { DiscoveryConfig } from "./discovery-config.ts";
import { joinGroup, urlOf } from "./join-group.ts";
import { type ProcessEnd, runAlone, wasAlone } from "./run-alone.ts";
import { runGroup } from "./run-group.ts";
import { type DiscoveryRun, findMembership, forgetMembership, leaveCluster, runNode } from "./run-node.ts";
import { readGroupFile } from "./server-files.ts";
import { whileWaiting } from "./while-waiting.ts";

/** Server or client, until `signal` aborts or the node is told to leave; then everything ends in reverse order. */
export async function runDiscovery(config: DiscoveryConfig, run: DiscoveryRun, signal: AbortSignal): Promise<void> {
  const end = new AbortController();
  let leaving = false;
  const leave = (): Promise<void> => {
    leaving = true;
    // What asked for it gets its answer first.
    void systemClock.sleep(0).then(() => end.abort());
    return Promise.resolve();
  };
  const stop = (): void => end.abort();
  signal.addEventListener("abort", stop);
  if (signal.aborted) return;
  const process: ProcessEnd = { signal: end.signal, leave, leaves: () => leaving || config.leaveOnTerminate };
  try {
    await (config.server ? runServer(config, run, process) : runClient(config, run, process));
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

async function runClient(config: DiscoveryConfig, run: DiscoveryRun, end: ProcessEnd): Promise<void> {
  const joining = { urls: config.join, token: config.token, log: run.log };
  while (!end.signal.aborted) {
    const membership = await findMembership(config, joining, end.signal);
    if (membership === null) return;
    const urls = await runNode(config, { run, membership, leave: end.leave }, end.signal);
    const left = end.signal.aborted && end.leaves();
    if (left) await leaveCluster(membership, urls, run.log);
    // Left, or removed by others while it was away: then it joins anew.
    if (left || !end.signal.aborted) await forgetMembership(config);
  }
}

/**
 * Alone or one of several, as the data directory says; who is neither yet begins a cluster or joins one. Who expects others is never
 * alone: it begins as the first of several, which nobody but servers gets an answer from before the others are there.
 */
async function runServer(config: DiscoveryConfig, run: DiscoveryRun, end: ProcessEnd): Promise<void> {
  let etcd: EtcdProcess | null = null;
  const waiting = { config, log: run.log, leave: end.leave };
  while (!end.signal.aborted) {
    const group = await readGroupFile(config.dataDir);
    if (group !== null) {
      const ended = await runGroup({ config, run, group, etcd }, end);
      etcd = null;
      if (ended.kind === "ended") return;
      const { urls, token } = ended;
      const known = [...new Set([...config.join, ...urls])];
      const join = { urls: known, token: config.token ?? token, once: false, log: run.log };
      await whileWaiting(waiting, () => joinGroup(config, join, end.signal));
    } else if (await hasBegunForming(config)) {
      etcd = await whileWaiting(waiting, () => beginGroup(config, run.log, end.signal));
    } else if (wasAlone(config) || (await whileWaiting(waiting, () => begins(config, run, end.signal)))) {
      if (!wasAlone(config) && !config.bootstrap && config.bootstrapExpect > 1) await beginForming(config);
      else if ((await runAlone(config, run, end)) === "ended") return;
      else etcd = await beginGroup(config, run.log, end.signal);
    }
  }
}

/** Whether this server begins a cluster; else it has joined one, or the process is to end. */
async function begins(config: DiscoveryConfig, { log }: DiscoveryRun, signal: AbortSignal): Promise<boolean> {
  const { join: urls, bootstrap, bootstrapExpect: expect, token } = config;
  const choice = chooseFounder({ self: urlOf(config), join: urls, bootstrap, expect });
  if (choice === "begin") return true;
  const joined = await joinGroup(config, { urls, token, once: choice === "begin-if-alone", log }, signal);
  return !joined && choice === "begin-if-alone" && !signal.aborted;
}
