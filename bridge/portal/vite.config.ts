import { defineConfig } from "vite";

// Everything comes from the bridge itself, under names that change with what is in them; nothing is written into the page, which its policy forbids.
export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: { rollupOptions: { input: ["index.html", "me.html"] }, target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, sourcemap: false },
});
