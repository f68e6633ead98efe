import { AppError } from "../../../model/error.ts";

/** The compiled programs, out of the binary or, when running from source, out of `dist`. @throws AppError `unavailable`. */
export async function readFastPathObject(): Promise<Uint8Array> {
  try {
    const { default: path } = await import("../../../../dist/fast-path.o", { with: { type: "file" } });
    return await Bun.file(path).bytes();
  } catch (cause) {
    throw new AppError("unavailable", "Cannot read the fast path's program: this build has none", {
      cause,
      hint: "npm run build",
    });
  }
}
