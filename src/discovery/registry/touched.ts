/** Collects the topics that one change moves, and which of their things are gone with it. */
export class Touched {
  readonly topics = new Set<string>();
  readonly retired = new Set<string>();

  add(topic: string): void {
    this.topics.add(topic);
    this.retired.delete(topic);
  }

  /** The thing is gone: its topic is only kept for a while. */
  retire(topic: string): void {
    this.topics.add(topic);
    this.retired.add(topic);
  }
}

/** Names of topics. What a query shows decides on which it depends; see `CatalogView` for when each moves. */
export const topic = {
  nodes: "nodes",
  services: "services",
  /** Any node record or instance. */
  catalog: "catalog",
  /** Node record and instances on it. */
  node: (node: string): string => `node:${node}`,
  /** All checks on a node. */
  nodeChecks: (node: string): string => `node-checks:${node}`,
  /** Instances of a service and the records of their nodes. */
  instances: (service: string): string => `instances:${service}`,
  /** The same with all that decides on their health. */
  health: (service: string): string => `health:${service}`,
  /** Checks that belong to a service's instances. */
  serviceChecks: (service: string): string => `service-checks:${service}`,
  /** Checks in a state; `any` for all. */
  checks: (state: string): string => `checks:${state}`,
  sessions: "sessions",
  session: (id: string): string => `session:${id}`,
  nodeSessions: (node: string): string => `node-sessions:${node}`,
  queries: "queries",
  coordinates: "coordinates",
};
