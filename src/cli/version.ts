import manifest from "../../package.json" with { type: "json" };

/** Version of this binary. */
export const VERSION: string = manifest.version;
