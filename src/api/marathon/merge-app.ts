import type { AppSpec } from "../../model/app.ts";
import { isObject } from "../read-json.ts";
import { isReadOnlyField } from "./app-fields.ts";
import { renderDefinition, type Json } from "./render-definition.ts";

/** Fields of which the update's one drives out the others, being older or newer ways of saying the same. */
const EXCLUSIVE: Readonly<Record<string, readonly string[]>> = {
  cmd: ["args"],
  args: ["cmd"],
  networks: ["ipAddress"],
  ipAddress: ["networks"],
  ports: ["portDefinitions"],
};

/**
 * Marathon's partial update: a field that is given replaces the whole field, one that is missing or null stays.
 * @returns an app for `parseApp`; unknown fields stay in it, so that they are refused there.
 */
export function mergeApp(current: AppSpec, update: Json): Json {
  const merged: Record<string, unknown> = { ...renderDefinition(current) };
  for (const [name, value] of Object.entries(update)) {
    if (value === null || isReadOnlyField(name)) continue;
    const others = Object.hasOwn(EXCLUSIVE, name) ? EXCLUSIVE[name] : undefined;
    for (const other of others ?? []) if (!given(update, other)) delete merged[other];
    Object.defineProperty(merged, name, { value, enumerable: true, writable: true, configurable: true });
  }
  if (given(update, "container") && !given(update, "networks")) fitNetworks(merged, update["container"]);
  if (given(update, "networks") || given(update, "ipAddress")) dropForeignPorts(merged, update);
  return merged;
}

function given(update: Json, name: string): boolean {
  return Object.hasOwn(update, name) && update[name] !== null;
}

/** A container in the 2015 form brings its own network. */
function fitNetworks(merged: Record<string, unknown>, container: unknown): void {
  const docker = isObject(container) ? container["docker"] : undefined;
  if (isObject(docker) && docker["network"] !== undefined && docker["network"] !== null) {
    delete merged["networks"];
    if (docker["network"] !== "HOST") delete merged["portDefinitions"];
  }
}

/** On another network the ports are said in another field; the old one's would only be refused. */
function dropForeignPorts(merged: Record<string, unknown>, update: Json): void {
  if (!given(update, "portDefinitions") && !given(update, "ports")) delete merged["portDefinitions"];
  const { container } = merged;
  if (!given(update, "container") && isObject(container) && isHost(merged["networks"])) {
    merged["container"] = { ...container, portMappings: [] };
  }
}

function isHost(networks: unknown): boolean {
  const [first] = Array.isArray(networks) ? (networks as readonly unknown[]) : [];
  return isObject(first) && first["mode"] === "host";
}
