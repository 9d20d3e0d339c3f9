import { expect, test } from "vitest";
import { deriveComputeCapability } from "../../src/detect/compute-capability.ts";

test.each([
  ["NVIDIA A100-SXM4-40GB", "Ampere", "8.0"],
  ["NVIDIA A800-SXM4-80GB", "Ampere", "8.0"],
  ["NVIDIA A30", "Ampere", "8.0"],
  ["NVIDIA A40", "Ampere", "8.6"],
  ["NVIDIA A2", "Ampere", "8.6"],
  ["NVIDIA RTX A6000", "Ampere", "8.6"],
  ["NVIDIA GeForce MX570", "Ampere", "8.6"],
  ["Orin (nvgpu)", null, "8.7"],
  ["NVIDIA L40S", "Ada Lovelace", "8.9"],
  ["NVIDIA RTX 6000 Ada Generation", null, "8.9"],
  ["NVIDIA GeForce RTX 4090", null, "8.9"],
  ["NVIDIA H100 PCIe", null, "9.0"],
  ["NVIDIA GH200 480GB", "Hopper", "9.0"],
  ["NVIDIA B200", "Blackwell", "10.0"],
  ["NVIDIA GB200", "Blackwell", "10.0"],
  ["NVIDIA GB300", "Blackwell", "10.3"],
  ["NVIDIA GeForce RTX 5090", "Blackwell", "12.0"],
  ["NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "Blackwell", "12.0"],
  ["NVIDIA GB10", "Blackwell", "12.1"],
  ["Quadro RTX 6000", null, "7.5"],
  ["NVIDIA T400", "Turing", "7.5"],
  ["Tesla V100-SXM2-32GB", "Volta", "7.0"],
  ["Tesla P100-PCIE-16GB", "Pascal", "6.0"],
  ["Tesla P40", null, "6.1"],
  ["GeForce GTX 1070 Ti", null, "6.1"],
  ["NVIDIA Something New", "Blackwell", null],
  ["NVIDIA Something New", null, null],
  ["Tesla K80", "Kepler", null],
])("%s (%s)", (name, architecture, expected) => {
  expect(deriveComputeCapability(name, architecture)).toBe(expected);
});
