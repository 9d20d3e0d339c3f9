/** A chat that the bench's engine answers with so many pieces: at once, or so many a second. */
export function chat(pieces: number, perSecond?: number) {
  return {
    messages: [{ role: "user", content: "Say something." }],
    max_tokens: pieces,
    ...(perSecond && { per_second: perSecond }),
  };
}
