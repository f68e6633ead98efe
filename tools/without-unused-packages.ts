import type { BunPlugin } from "bun";

/**
 * What dockerode and docker-modem load at once, and use only for ways to the engine that we do not go: SSH, and sessions
 * with BuildKit. We speak to a Unix socket and build no images. They are a megabyte of source, 7 MB of an agent's memory,
 * and a native library that would be unpacked into /tmp at each start.
 */
const UNUSED = /^(ssh2|@grpc\/grpc-js|@grpc\/proto-loader|protobufjs)$/;

/** Leaves those packages out of the program: each is an empty module in it. */
export const withoutUnusedPackages: BunPlugin = {
  name: "without-unused-packages",
  setup(build) {
    build.onResolve({ filter: UNUSED }, ({ path }) => ({ path, namespace: "unused" }));
    build.onLoad({ filter: UNUSED, namespace: "unused" }, () => ({ contents: "module.exports = {};", loader: "js" }));
  },
};
