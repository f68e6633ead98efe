import type { AppSpec } from "../model/app.ts";
import type { AppChange } from "../scheduling/app-service.ts";
import { IMAGES } from "./sim-machine.ts";

/** Names that dressed apps register under; `app-1` and `app-2` may share one. */
export const SHARED_SERVICE = "shop";

/** Makes a drawn change one that real agents can follow: an image that exists, a port, a service, checks that are quick. */
export function dressChange(change: AppChange, sharing: boolean): AppChange {
  return change.kind === "put" ? { ...change, spec: dressSpec(change.spec, sharing) } : change;
}

export function dressSpec(spec: AppSpec, sharing: boolean): AppSpec {
  const number = Number(spec.image.split(":")[1]);
  const misbehaves = spec.env["MISBEHAVE"];
  const checked = spec.healthChecks.length > 0;
  const shares = sharing && /^\/app-[12]$/.test(spec.id);
  const [check] = spec.healthChecks;
  return {
    ...spec,
    image: `app:${number % IMAGES.length}`,
    argv: misbehaves === "no-start" ? ["false"] : null,
    ports: [{ containerPort: 8080, hostPort: null, servicePort: 0, protocol: "tcp", name: null, labels: {} }],
    env: {
      ...(misbehaves === undefined ? {} : { MISBEHAVE: misbehaves }),
      ...(checked ? { CHECKED: "yes" } : {}),
      ...(shares ? { SERVICE_NAME: SHARED_SERVICE } : {}),
    },
    healthChecks:
      check === undefined
        ? []
        : [{ ...check, gracePeriodMs: 10_000, intervalMs: 1000 + (number % 3) * 1000, timeoutMs: 1000 }],
  };
}
