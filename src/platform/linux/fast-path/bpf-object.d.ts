/** Written by tools/build-fast-path.ts; absent until the programs were built once. */
declare module "*/dist/fast-path.o" {
  /** Path of the object, on disk or inside the compiled binary. */
  const path: string;
  export default path;
}
