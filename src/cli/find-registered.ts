import { AppError } from "../model/error.ts";
import type { ClientFlags } from "./cli-context.ts";
import { type ConsulClient, encodePath } from "./consul-client.ts";
import { notFound } from "./find-named.ts";

export interface InstanceFlags extends ClientFlags {
  readonly node?: string;
  readonly id?: string;
}

export interface RegisteredInstance {
  readonly node: string;
  readonly id: string;
}

interface InstanceJson {
  readonly Node: string;
  readonly ServiceID: string;
}

/** The one instance that is meant. @throws AppError `not-found`, or `invalid` when several fit. */
export async function findInstance(
  consul: ConsulClient,
  service: string,
  { node, id }: InstanceFlags,
): Promise<RegisteredInstance> {
  const all = (await consul.find<readonly InstanceJson[]>(`catalog/service/${encodePath(service)}`)) ?? [];
  if (all.length === 0) {
    const names = Object.keys((await consul.find<object>("catalog/services")) ?? {});
    throw notFound("service", service, names);
  }
  const fitting = all.filter(
    (one) => (node === undefined || one.Node === node) && (id === undefined || one.ServiceID === id),
  );
  const [first, ...others] = fitting.map((one) => ({ node: one.Node, id: one.ServiceID }));
  const list = all.map((one) => `--node ${one.Node} --id ${one.ServiceID}`);
  if (first === undefined)
    throw new AppError("not-found", `Cannot find an instance of ${service} there`, {
      hint: `There is: ${shorten(list)}`,
    });
  if (others.length > 0)
    throw new AppError("invalid", `Cannot tell which instance of ${service} is meant: there are ${fitting.length}`, {
      hint: `Say which: ${shorten(list)}`,
    });
  return first;
}

function shorten(texts: readonly string[]): string {
  return `${texts.slice(0, 3).join(", or ")}${texts.length > 3 ? ", …" : ""}`;
}
