/** Answers that stream while beats are watched; each about as fast as a large model on a good card. */
export const BUSY = { streams: 64, perSecond: 40 };
