const MiB = 2 ** 20;

/** What one job may hold of this worker's memory. */
export interface JobLimits {
  /** Of the whole input as it came. */
  inputBytes: number;
  /** Of one image, decoded. */
  imageBytes: number;
  /** Of one ocr job. */
  pages: number;
  /** Of the text of the answer. */
  outputBytes: number;
}

export const JOB_LIMITS: JobLimits = {
  inputBytes: 48 * MiB,
  imageBytes: 20 * MiB,
  pages: 64,
  outputBytes: 16 * MiB,
};
