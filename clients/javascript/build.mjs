// Builds dist/: an ES module (msgpack stays an import) and an IIFE for <script> tags (msgpack inside, global `gamebus`).
// `--tests` also bundles each test file, so that node's own test runner can run them.
import { readdir, rm } from "node:fs/promises";
import { build } from "esbuild";

const common = {
  bundle: true,
  target: "es2022",
  sourcemap: true,
  logLevel: "warning",
};
const entry = ["src/index.ts"];

await Promise.all([
  build({ ...common, entryPoints: entry, format: "esm", packages: "external", outfile: "dist/gamebus.js" }),
  build({
    ...common,
    entryPoints: entry,
    format: "iife",
    globalName: "gamebus",
    minify: true,
    outfile: "dist/gamebus.iife.js",
  }),
]);

if (process.argv.includes("--tests")) {
  await rm("dist/test", { recursive: true, force: true });
  const tests = (await readdir("test")).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...common,
    entryPoints: tests.map((name) => `test/${name}`),
    format: "esm",
    platform: "node",
    packages: "external",
    sourcemap: "inline",
    outdir: "dist/test",
  });
}
