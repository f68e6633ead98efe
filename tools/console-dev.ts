/**
 * The console on a made-up cluster, for working on its looks: `bun tools/console-dev.ts [HOSTS] [INSTANCES PER HOST] [PORT]`.
 * Builds again when a source file changes: reload the page to see it. Every second instances move on, now and then an app
 * is scaled; a few instances are in trouble from the start, so that every state is there to look at.
 */
import { watch } from "node:fs";
import { ConsoleAssets } from "../src/server/console-assets.ts";
import { addTroubles, makeDemoCluster } from "../test/console/demo-cluster.ts";
import { FakeServer } from "../test/console/fake-server.ts";
import { buildConsole } from "./build-console.ts";

const [hosts = "3", perHost = "2", port = "8700"] = process.argv.slice(2);
const outDir = new URL("../dist/console", import.meta.url).pathname;
await buildConsole(outDir);
const cluster = makeDemoCluster(Number(hosts), Number(perHost));
addTroubles(cluster);
const server = await FakeServer.start(cluster, "dev", Number(port));
console.log(`Console on a made-up cluster: ${server.url}#token=dev`);

/** An editor saves a file in several writes: they are one change. */
const SETTLE_MS = 100;
let settling: Timer | undefined;
let building: Promise<void> = Promise.resolve();
watch(new URL("../src/console", import.meta.url).pathname, () => {
  clearTimeout(settling);
  settling = setTimeout(() => {
    building = building.then(rebuild);
  }, SETTLE_MS);
});

async function rebuild(): Promise<void> {
  try {
    const { files } = await buildConsole(outDir);
    server.assets = await ConsoleAssets.read(Object.fromEntries(files.map((file) => [file, `${outDir}/${file}`])));
    console.log("Built again: reload the page");
  } catch (error) {
    console.error(error);
  }
}

let turn = 0;
setInterval(() => {
  turn += 1;
  cluster.step();
  const app = [...cluster.apps.values()][turn % cluster.apps.size];
  if (turn % 7 === 0 && app !== undefined) {
    cluster.scale(app.id, Math.max(1, app.instances + (turn % 2 === 0 ? 2 : -1)));
  }
}, 1000);
