/** What a worker runs on. Values are as a process on this worker gets them, after container limits and visibility. */

export type GpuVendor = "nvidia" | "amd" | "intel";

export interface Gpu {
  /** Position in the list the driver shows; for a MIG device, that of its board. */
  index: number;
  name: string;
  /** As the driver names it (`GPU-…`, `MIG-…`, a PCI address where the vendor has none). */
  uuid: string;
  vendor: GpuVendor;
  /** MiB; null where the driver will not say (`[N/A]`, missing permission): unknown is never zero. */
  memoryTotalMiB: number | null;
  memoryFreeMiB: number | null;
  /** True for a MIG device: a slice of a board, and the unit a process gets. */
  mig: boolean;
  /** True where GPU and CPU share one memory (GB10, Jetson, integrated GPUs). */
  unified: boolean;
  /** CUDA compute capability such as "8.6"; null where unknown or not NVIDIA. */
  computeCapability: string | null;
}

export interface Hardware {
  gpus: Gpu[];
  gpuVendor: GpuVendor | null;
  driverVersion: string | null;
  /** Highest CUDA (or ROCm) version that the driver serves. */
  runtimeVersion: string | null;
  cpu: { model: string; cores: number };
  memory: {
    /** Bytes this worker may use: the smaller of the machine's memory and the cgroup limit. */
    totalBytes: number;
    availableBytes: number;
    /** The cgroup limit in bytes; null where there is none. */
    limitBytes: number | null;
  };
  /** What was found odd while looking, in words for an operator. */
  warnings: string[];
}
