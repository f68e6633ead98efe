import { engineContract } from "../../sim/engine.contract.ts";
import { startScratchEngine } from "../../sim/scratch-engine.ts";
import { systemClock } from "../clock/system-clock.ts";
import { DockerEngine } from "./docker-engine.ts";

const REGISTRY = "127.0.0.1:5000";

engineContract("Docker", async () => {
  const scratch = await startScratchEngine();
  try {
    const docker = (...argv: string[]): Promise<string> =>
      scratch.run(["docker", "--host", `unix://${scratch.socketPath}`, ...argv]);
    await scratch.startRegistry(REGISTRY);
    const pullableImage = `${REGISTRY}/team/app:1`;
    await docker("tag", scratch.image, pullableImage);
    await docker("push", "--quiet", pullableImage);
    await docker("rmi", pullableImage);
    return {
      engine: new DockerEngine({ socketPath: scratch.socketPath, clock: systemClock }),
      image: scratch.image,
      missingImage: `${REGISTRY}/team/none:1`,
      pullableImage,
      restartEngine: scratch.restartDaemon,
      crash: async (containerId) => {
        const pid = (await docker("inspect", "--format", "{{.State.Pid}}", containerId)).trim();
        await scratch.run(["kill", "-KILL", pid]);
      },
      stop: scratch.stop,
    };
  } catch (error) {
    await scratch.stop();
    throw error;
  }
});
