/**
 * The console on a made-up cluster, for working on its looks: `bun tools/console-dev.ts [HOSTS] [INSTANCES PER HOST]`.
 * Builds again when a source file changes (reload the page); every second instances move on and now and then an app is
 * scaled, fails or heals.
 */
import { watch } from "node:fs";
import { FakeServer } from "../test/console/fake-server.ts";
import { makeDemoCluster } from "../test/console/demo-cluster.ts";
import { buildConsole } from "./build-console.ts";

const [hosts = "3", perHost = "2", port = "8700"] = process.argv.slice(2);
const outDir = new URL("../dist/console", import.meta.url).pathname;
await buildConsole(outDir);
const cluster = makeDemoCluster(Number(hosts), Number(perHost));
const server = await FakeServer.start(cluster, "dev", Number(port));
console.log(`Console on a made-up cluster: ${server.url}#token=dev`);

watch(new URL("../src/console", import.meta.url).pathname, () => {
  buildConsole(outDir).then(
    () => console.log("Built again; restart to serve it"),
    (error: unknown) => console.error(error),
  );
});
let turn = 0;
setInterval(() => {
  turn += 1;
  cluster.step();
  const app = [...cluster.apps.values()][turn % cluster.apps.size];
  if (turn % 7 === 0 && app !== undefined) {
    cluster.scale(app.id, Math.max(1, app.instances + (turn % 2 === 0 ? 2 : -1)));
  }
}, 1000);
