import type { Container } from "./container.ts";

/** A container as plain as it can be that runs on the default network, without ports and without an address. */
export function containerOf(change: Partial<Container> = {}): Container {
  return {
    id: "c0ffee",
    name: "box",
    image: "web:1",
    state: "running",
    exitCode: null,
    startedAtMs: 1,
    finishedAtMs: null,
    oomKilled: false,
    env: {},
    labels: {},
    addresses: {},
    fixedAddress: null,
    exposedPorts: [],
    pid: 1,
    ...change,
  };
}
