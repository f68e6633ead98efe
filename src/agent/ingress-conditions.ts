import type { AppError } from "../model/error.ts";
import type { Condition } from "../model/wire.ts";

/** What an operator sees of a failed step of the ingress. */
export function ingressFailure(error: AppError): Condition {
  const { code, fallback } = classify(error);
  return { code, severity: "error", text: error.message, hint: error.hint ?? fallback };
}

function classify(error: AppError): { readonly code: string; readonly fallback: string } {
  if (error.details["reason"] === "port-taken") {
    return { code: "ingress-port-taken", fallback: "Stop the program that has the port" };
  }
  if (error.code === "invalid") {
    return {
      code: "ingress-config-refused",
      fallback: "The last good configuration keeps running; see the agent's log",
    };
  }
  return {
    code: "ingress-unavailable",
    fallback: "Check that haproxy is installed; the agent tries again each second",
  };
}

/** A wish of a service that the ingress cannot meet. */
export function ingressProblem(text: string): Condition {
  return {
    code: "ingress-name",
    severity: "warning",
    text,
    hint: "Change ingress.host of the service: one outside name leads to one service",
  };
}
