import { AppError } from "../model/error.ts";
import type { Engine } from "../platform/ports/engine.ts";

/** The container engine of a process that has none: it says so to whoever asks. */
export const noEngine: Engine = {
  info: refuse,
  listContainers: refuse,
  inspectContainer: refuse,
  createContainer: refuse,
  startContainer: refuse,
  stopContainer: refuse,
  removeContainer: refuse,
  setRestart: refuse,
  hasImage: refuse,
  pullImage: refuse,
  listNetworks: refuse,
  createNetwork: refuse,
  removeNetwork: refuse,
  watch: () => Promise.resolve(),
  logs: refuse,
  exec: refuse,
};

function refuse(): Promise<never> {
  const message = "Cannot use containers: this host runs service discovery only";
  return Promise.reject(new AppError("unavailable", message, { hint: "A host with containers runs: apollo agent" }));
}
