/** An error in the form that OpenAI clients read. */
export function apiError(code: string, message: string, type = "invalid_request_error") {
  return { error: { message, type, code } };
}

export const UNAUTHORIZED = apiError(
  "invalid_api_key",
  "The bearer token is missing or wrong.",
  "authentication_error",
);
