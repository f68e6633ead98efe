/** What was measured: as JSON for Consul's own tools, as text for Prometheus. */
import type { Aggregate, Labels, Total } from "../../discovery/registry/metrics.ts";
import type { HttpResponse } from "../../platform/ports/http.ts";
import { localNode } from "./agent-service-routes.ts";
import type { Call } from "./call.ts";
import { failureTolerance } from "./operator-routes.ts";
import { json, text } from "./respond.ts";

const QUANTILES = [0.5, 0.9, 0.99] as const;

export function agentMetrics(call: Call): HttpResponse {
  call.caller.grants.require("agent", localNode(call), "read");
  const gauges = readGauges(call);
  if (call.request.query.get("format") === "prometheus") {
    const body = `${renderPrometheus(call, gauges).join("\n")}\n`;
    return text(200, body, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
  }
  const { metrics } = call.backend.parts;
  const [counters, samples] = [metrics.interval("counter"), metrics.interval("sample")];
  const at = new Date(counters.startedMs).toISOString().replace("T", " ").replace(/\.\d+Z/, " +0000 UTC"); // prettier-ignore
  return json(call, {
    Timestamp: at,
    Gauges: Object.entries(gauges).map(([Name, Value]) => ({ Name, Value, Labels: {} })),
    Points: [],
    Counters: counters.series.map(renderAggregate),
    Samples: samples.series.map(renderAggregate),
  });
}

function renderAggregate({ name, labels, count, rate, sum, min, max, stddev }: Aggregate): object {
  const mean = sum / count;
  return {
    Name: name,
    Count: count,
    Rate: rate,
    Sum: sum,
    Min: min,
    Max: max,
    Mean: mean,
    Stddev: stddev,
    Labels: labels,
  };
}

function renderPrometheus(call: Call, gauges: Readonly<Record<string, number>>): readonly string[] {
  const { metrics } = call.backend.parts;
  const alone = Object.entries(gauges).flatMap(([name, value]) => [...head(name, "gauge"), `${metric(name)} ${value}`]);
  const counters = grouped(metrics.totals("counter")).flatMap(([name, series]) => [
    ...head(name, "counter"),
    ...series.map(({ labels, sum }) => `${metric(name)}${renderLabels(labels)} ${sum}`),
  ]);
  const samples = grouped(metrics.totals("sample")).flatMap(([name, series]) => [
    ...head(name, "summary"),
    ...series.flatMap(({ labels, latest, sum, count }) => [
      ...QUANTILES.map((each) => {
        const at = Math.min(latest.length - 1, Math.floor(latest.length * each));
        return `${metric(name)}${renderLabels({ ...labels, quantile: String(each) })} ${latest[at] ?? 0}`;
      }),
      `${metric(name)}_sum${renderLabels(labels)} ${sum}`,
      `${metric(name)}_count${renderLabels(labels)} ${count}`,
    ]),
  ]);
  return [...alone, ...counters, ...samples];
}

/** Prometheus wants all series of a name in one place. */
function grouped(totals: readonly Total[]): readonly (readonly [string, readonly Total[]])[] {
  return [...Map.groupBy(totals, ({ name }) => name)];
}

function head(name: string, type: string): readonly string[] {
  return [`# HELP ${metric(name)} ${metric(name)}`, `# TYPE ${metric(name)} ${type}`];
}

function metric(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9_]/g, "_");
}

function renderLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function readGauges({ backend }: Call): Readonly<Record<string, number>> {
  const { registry } = backend.parts;
  const { view, tables, watches } = registry;
  const names = view.serviceNames();
  const members = backend.members();
  const servers = members.filter(({ server }) => server);
  const alive = servers.filter(({ status }) => status === "alive").length;
  const memory = backend.memory?.();
  return {
    "consul.state.nodes": view.nodes().length,
    "consul.state.services": names.length,
    "consul.state.service_instances": names.reduce((sum, name) => sum + view.instances(name).length, 0),
    "consul.state.kv_entries": tables.size("kv"),
    "consul.session_ttl.active": tables.size("session"),
    "consul.rpc.queries_blocking": watches.waiting,
    "consul.raft.applied_index": registry.index,
    "consul.server.isLeader": backend.leader() === "" ? 0 : 1,
    "consul.members.clients": members.length - servers.length,
    "consul.members.servers": servers.length,
    "consul.autopilot.healthy": alive === servers.length ? 1 : 0,
    "consul.autopilot.failure_tolerance": failureTolerance(alive, servers.length),
    ...(memory === undefined
      ? {}
      : { "consul.runtime.alloc_bytes": memory.usedBytes, "consul.runtime.sys_bytes": memory.residentBytes }),
  };
}
