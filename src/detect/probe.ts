import type { Gpu, GpuVendor } from "../hardware.ts";

/** The environment variables that container runtimes and GPU libraries narrow the devices with. */
export interface VisibilityEnv {
  nvidiaVisibleDevices?: string;
  cudaVisibleDevices?: string;
  /** CUDA_DEVICE_ORDER; only decides whether an index list among unlike GPUs deserves a warning. */
  cudaDeviceOrder?: string;
  rocrVisibleDevices?: string;
  hipVisibleDevices?: string;
}

/** Where the kernel's file systems are mounted. */
export interface Roots {
  sys: string;
  proc: string;
  dev: string;
}

/** What each vendor's probe is given. */
export interface ProbeContext {
  env: VisibilityEnv;
  roots: Roots;
  /** How vendor tools are run: the PATH to look them up in (default: ours) and how long one may take. */
  tools: { path?: string; timeoutMs: number };
  signal?: AbortSignal;
}

/** What each vendor's probe answers: the GPUs a process on this worker can use, and what was odd. */
export interface VendorReport {
  vendor: GpuVendor;
  gpus: Gpu[];
  driverVersion: string | null;
  runtimeVersion: string | null;
  warnings: string[];
}
