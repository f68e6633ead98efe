// Files of the example that are built into the program as text, by Bun's `with { type: "text" }`.
declare module "*/server.mjs" {
  const text: string;
  export default text;
}
declare module "*/Dockerfile" {
  const text: string;
  export default text;
}
