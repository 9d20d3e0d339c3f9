import { join } from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/build-bundle.ts",
    // Tests start real processes and servers; a slow, shared machine needs room before a hang is called one.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    // The summary that .ci/run prints at its end is read from this file.
    reporters: process.env.CI ? ["default", ["json", { outputFile: "coverage/results.json" }]] : ["default"],
    // Nothing of the operator's own environment may steer a test.
    env: {
      // Processes that run the sources need not strip their types again each time: half of the work of the crash tests.
      NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules/.cache/node"),
      HF_TOKEN: "",
      HF_HOME: "",
      HF_ENDPOINT: "",
      COORDINATOR_URL: "",
      LOG_FILE: "none",
      NO_PROXY: "127.0.0.1,localhost",
      AWS_ACCESS_KEY_ID: "AKIDMUSTERTEST",
      AWS_SECRET_ACCESS_KEY: "verysecretverysecret/key+",
      AWS_SESSION_TOKEN: "",
      AWS_PROFILE: "",
      AWS_CONFIG_FILE: "/dev/null",
      AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
      AWS_EC2_METADATA_DISABLED: "true",
    },
  },
});
