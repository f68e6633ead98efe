import { expect, test } from "bun:test";
import type { AppSpec } from "../model/app.ts";
import type { AppId, HostId, InstanceId, Version } from "../model/ids.ts";
import { parseIpv4 } from "../model/ip.ts";
import type { InstanceStatus } from "../model/instance.ts";
import type { Copy } from "./app-copies.ts";
import { chooseVictims } from "./choose-victims.ts";
import { sampleHost, sampleSpec } from "./sample-cluster.ts";

type State = "ready" | "unhealthy" | "staging" | "unreachable" | "old";

/** "a h1 ready": an instance by name, host and state; later ones are younger. */
function copies(lines: readonly string[]): Copy[] {
  return lines.map((line, at) => {
    const [id = "", host = "", state = "ready"] = line.split(" ") as [string, string, State?];
    const ready = state === "ready" || state === "old";
    const running: InstanceStatus = {
      phase: "running",
      containerId: id,
      address: parseIpv4("10.2.1.2"),
      startedAtMs: 0,
      health: ready ? "healthy" : "unhealthy",
      checks: [],
      condemned: false,
    };
    return {
      instance: {
        id: id as InstanceId,
        appId: "/web" as AppId,
        version: "v" as Version,
        hostId: host as HostId,
        createdAtMs: at,
        goal: "running",
      },
      status: state === "staging" ? { phase: "staging", step: "pulling", sinceMs: 0 } : running,
      host: sampleHost(host, {
        labels: { rack: host.slice(0, 1) },
        presence: state === "unreachable" ? { phase: "down", sinceMs: 0 } : { phase: "up" },
      }),
      current: state !== "old",
      ready,
    };
  });
}

function order(lines: readonly string[], change: Partial<AppSpec> = {}, count = lines.length): string {
  return chooseVictims(copies(lines), count, sampleSpec("/web", change))
    .map(({ instance }) => instance.id)
    .join(" ");
}

test("chooseVictims() takes those that serve nobody first", () => {
  expect(order(["a h1 ready", "b h2 unhealthy", "c h3 staging", "d h4 unreachable"])).toBe("d c b a");
});

test("chooseVictims() restores the spread over hosts, then goes by age", () => {
  expect(order(["a h1", "b h1", "c h1", "d h2", "e h3", "f h3"])).toBe("c f b e d a");
  expect(order(["a h1", "b h2", "c h3"], { killSelection: "OLDEST_FIRST" })).toBe("a b c");
  expect(order(["a h1", "b h1", "c h2"], { killSelection: "OLDEST_FIRST" }, 1)).toBe("a");
});

test("chooseVictims() takes outdated ones before current ones, ready ones last", () => {
  expect(order(["a h1 old", "b h2 ready", "c h2 unhealthy"])).toBe("c a b");
});

test("chooseVictims() restores the balance of GROUP_BY before all else", () => {
  const constraints = [{ field: "rack", operator: "GROUP_BY", value: null } as const];
  expect(order(["a x1", "b x2", "c x3", "d y1 staging"], { constraints }, 2)).toBe("c b");
  expect(order(["a x1", "b y1", "c x2", "d y2 staging"], { constraints }, 2)).toBe("d c");
});

test("chooseVictims() takes none when there is no surplus", () => {
  expect(order(["a h1"], {}, 0)).toBe("");
  expect(order(["a h1"], {}, -3)).toBe("");
});
