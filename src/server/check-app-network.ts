import type { AppSpec } from "../model/app.ts";
import { AppError } from "../model/error.ts";
import { DEFAULT_NETWORK } from "../model/network-config.ts";
import type { ClusterState } from "./cluster-state.ts";

/**
 * An app's network must be there, and able to do what the app asks of it. @throws AppError `invalid` with the field.
 */
export function checkAppNetwork(
  { id, network, healthChecks, ports }: AppSpec,
  state: Pick<ClusterState, "networkObjectsOf">,
): void {
  if (network === "host" || network === DEFAULT_NETWORK) return;
  const refuse = (path: string, message: string, hint: string): never => {
    throw new AppError("invalid", `Cannot use app "${id}": ${message}`, { fields: [{ path, message }], hint });
  };
  const networks = state.networkObjectsOf("network");
  const found = networks.find(({ name }) => name === network);
  if (found === undefined) {
    const names = [DEFAULT_NETWORK, ...networks.map(({ name }) => name).filter((name) => name !== DEFAULT_NETWORK)];
    return refuse(
      "/networks",
      `there is no network "${network}", only ${names.join(", ")}`,
      `Declare it: apollo network create ${network} --range RANGE`,
    );
  }
  if (found.mode === "routed") return;
  const reached = `network "${network}" is a layer-2 one, on which hosts reach no container`;
  if (healthChecks.some((check) => check.kind !== "command")) {
    refuse("/healthChecks", `${reached}: only command checks work`, "Use a command check, or a routed network");
  }
  if (ports.some(({ hostPort }) => hostPort !== null)) {
    refuse(
      "/container/portMappings",
      `${reached}: host ports do not work`,
      "Leave hostPort out, or use a routed network",
    );
  }
}
