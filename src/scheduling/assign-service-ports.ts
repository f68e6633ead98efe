import type { AppSpec } from "../model/app.ts";
import { AppError } from "../model/error.ts";

/** Marathon's default local_port_min and local_port_max (exclusive). */
export const SERVICE_PORT_MIN = 10_000;
export const SERVICE_PORT_END = 20_000;

/**
 * Fills service ports that are 0: an update keeps the port that the same index had before, others get the lowest free
 * number. Ports that the user chose are kept as they are.
 *
 * @throws AppError `unavailable` when the range is used up.
 */
export function assignServicePorts(spec: AppSpec, before: AppSpec | null, used: ReadonlySet<number>): AppSpec {
  const taken = new Set([...used, ...spec.ports.map((port) => port.servicePort)]);
  let next = SERVICE_PORT_MIN;
  const lowestFree = (): number => {
    while (taken.has(next)) next += 1;
    if (next >= SERVICE_PORT_END) {
      throw new AppError(
        "unavailable",
        `All ports in the range [${SERVICE_PORT_MIN}-${SERVICE_PORT_END}) are already in use`,
      );
    }
    taken.add(next);
    return next;
  };
  const ports = spec.ports.map((port, index) => {
    if (port.servicePort !== 0) return port;
    return { ...port, servicePort: before?.ports[index]?.servicePort ?? lowestFree() };
  });
  return { ...spec, ports };
}
