import type { Command } from "commander";
import type { ServiceJson } from "../../api/native/shapes.ts";
import type { ApolloClient } from "../client.ts";
import { type CliContext, clientOptions, examples, openSession } from "../cli-context.ts";
import { ConsulClient, encodePath } from "../consul-client.ts";
import { Interrupted } from "../format-error.ts";
import { type Paint, paintState } from "../style.ts";

export interface WatchedInstance {
  readonly service: string;
  readonly address: string;
  readonly node: string;
  readonly health: string;
}

export interface InstanceChange extends WatchedInstance {
  readonly change: "came" | "changed" | "left";
  /** Health before, when it changed. */
  readonly before: string | null;
}

interface HealthJson {
  readonly Node: { readonly Node: string; readonly Address: string };
  readonly Service: { readonly ID: string; readonly Service: string; readonly Address: string; readonly Port: number };
  readonly Checks: readonly { readonly Status: string }[];
}

export function addWatchCommand(service: Command, context: CliContext): void {
  const command = clientOptions(
    service
      .command("watch")
      .argument("[service...]", "all when none is named")
      .description("tell what comes, changes health and goes of services, until Ctrl-C"),
  );
  command.action(async (names: readonly string[]) => {
    const { client, paint, flags } = openSession(context, command);
    const consul = new ConsulClient(client, context.signal);
    const tell = (change: InstanceChange): void =>
      context.stdout.write(flags.json === true ? `${JSON.stringify(change)}\n` : formatChange(change, paint));
    if (names.length === 0) await watchAll(client, consul, tell);
    else await Promise.all(names.map((name) => watchService(consul, name, tell)));
    throw new Interrupted();
  });
  examples(command, [
    ["Whatever happens", "apollo service watch"],
    ["While it is scaled", "apollo service watch nodejs-rest-api"],
    ["A line of JSON for each change", "apollo service watch web db --json"],
  ]);
}

/** Two waits, however many services there are: for instances and for what their checks say. Each change costs one reading. */
async function watchAll(
  client: ApolloClient,
  consul: ConsulClient,
  tell: (change: InstanceChange) => void,
): Promise<void> {
  let before: ReadonlyMap<string, WatchedInstance> = new Map();
  let reading = Promise.resolve();
  const read = async (): Promise<void> => {
    const now = allInstances(await client.get<readonly ServiceJson[]>("/api/services"));
    for (const change of changesOf(before, now)) tell(change);
    before = now;
  };
  const see = (): Promise<void> => (reading = reading.then(read));
  await Promise.all([
    // A filter that holds for all: the plain list moves with names and tags alone.
    consul.watch("catalog/services", { filter: 'ServiceName != ""' }, see),
    consul.watch("health/state/any", {}, see),
  ]);
}

function allInstances(services: readonly ServiceJson[]): ReadonlyMap<string, WatchedInstance> {
  return new Map(
    services.flatMap(({ name, endpoints }) =>
      endpoints.map(({ id, address, port, host, health }) => [
        `${name}\0${id}`,
        { service: name, address: `${address}:${port}`, node: host, health },
      ]),
    ),
  );
}

async function watchService(consul: ConsulClient, name: string, tell: (change: InstanceChange) => void): Promise<void> {
  let before: ReadonlyMap<string, WatchedInstance> = new Map();
  await consul.watch(`health/service/${encodePath(name)}`, {}, ({ bytes }) => {
    const now = instancesOf(JSON.parse(new TextDecoder().decode(bytes)) as readonly HealthJson[]);
    for (const change of changesOf(before, now)) tell(change);
    before = now;
  });
}

function instancesOf(rows: readonly HealthJson[]): ReadonlyMap<string, WatchedInstance> {
  return new Map(
    rows.map(({ Node, Service, Checks }) => {
      const address = `${Service.Address || Node.Address}:${Service.Port}`;
      return [
        `${Node.Node}\0${Service.ID}`,
        { service: Service.Service, address, node: Node.Node, health: worst(Checks) },
      ];
    }),
  );
}

function worst(checks: HealthJson["Checks"]): string {
  return ["critical", "warning"].find((status) => checks.some((check) => check.Status === status)) ?? "passing";
}

/** What differs, in the order of the instances. */
export function changesOf(
  before: ReadonlyMap<string, WatchedInstance>,
  now: ReadonlyMap<string, WatchedInstance>,
): readonly InstanceChange[] {
  return [...new Set([...before.keys(), ...now.keys()])].toSorted().flatMap((id): readonly InstanceChange[] => {
    const [old, one] = [before.get(id), now.get(id)];
    if (one === undefined) return old === undefined ? [] : [{ ...old, change: "left", before: null }];
    if (old === undefined) return [{ ...one, change: "came", before: null }];
    if (old.health === one.health && old.address === one.address) return [];
    return [{ ...one, change: "changed", before: old.health }];
  });
}

function formatChange({ change, service, address, node, health, before }: InstanceChange, paint: Paint): string {
  const sign = { came: "+", changed: "~", left: "-" }[change];
  const state = change === "left" ? "gone" : paintState(paint, health);
  return `${sign} ${service} ${address} on ${node} ${before === null ? "" : `${before} -> `}${state}\n`;
}
