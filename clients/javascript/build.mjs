// Builds dist/, with msgpack inside: an ES module, for bundlers and for `<script type="module">` alike, and an IIFE for plain
// `<script>` tags (global `gamebus`), which is copied alone and so names no source map.
// `--tests` also bundles each test file, so that node's own test runner can run them.
import { copyFile, readdir, rm } from "node:fs/promises";
import { build } from "esbuild";

const common = {
  bundle: true,
  target: "es2022",
  sourcemap: true,
  logLevel: "warning",
};
const entry = ["src/index.ts"];

await Promise.all([
  build({ ...common, entryPoints: entry, format: "esm", outfile: "dist/gamebus.js" }),
  build({
    ...common,
    entryPoints: entry,
    format: "iife",
    globalName: "gamebus",
    minify: true,
    sourcemap: false,
    outfile: "dist/gamebus.iife.js",
  }),
]);

// It is inside the two, so its licence goes with them.
await copyFile("node_modules/@msgpack/msgpack/LICENSE", "dist/LICENSE.msgpack");

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
