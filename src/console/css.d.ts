/** Styles are imported for the bundler's sake; nothing comes back. */
declare module "*.css";
