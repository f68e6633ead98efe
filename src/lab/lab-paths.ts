/** Where a lab keeps its state. It must be a real file system: an overlay cannot be the upper layer of another. */
export const LAB_ROOT = "/var/lib/apollo-lab";

export interface NodePaths {
  readonly dir: string;
  /** Upper layer of the host's root: its disk. */
  readonly upper: string;
  readonly work: string;
  readonly merged: string;
  /** The engine's data root, bind-mounted: overlay2 cannot lie on an overlay. */
  readonly docker: string;
  /** /var/lib/apollo of the host, readable from the machine. */
  readonly apollo: string;
}

export interface LabPaths {
  readonly dir: string;
  readonly state: string;
  readonly adminConfig: string;
  readonly binary: string;
  readonly logs: string;
  readonly registry: string;
  readonly registryConfig: string;
  readonly sockets: string;
  readonly scratch: string;
  node(name: string): NodePaths;
}

export function labPaths(lab: string, root: string = LAB_ROOT): LabPaths {
  const dir = `${root}/${lab}`;
  return {
    dir,
    state: `${dir}/state.json`,
    adminConfig: `${dir}/admin.json`,
    binary: `${dir}/apollo`,
    logs: `${dir}/logs`,
    registry: `${dir}/registry`,
    registryConfig: `${dir}/registry.yml`,
    sockets: `${dir}/sockets`,
    scratch: `${dir}/scratch`,
    node: (name) => nodePaths(`${dir}/nodes/${name}`),
  };
}

function nodePaths(dir: string): NodePaths {
  return {
    dir,
    upper: `${dir}/upper`,
    work: `${dir}/work`,
    merged: `${dir}/root`,
    docker: `${dir}/docker`,
    apollo: `${dir}/apollo`,
  };
}
