/** Written by tools/build-console.ts; absent until the console was built once. */
declare module "*/dist/console/bundle.js" {
  /** Path by file name, on disk or inside the compiled binary. */
  export const files: Readonly<Record<string, string>>;
}
