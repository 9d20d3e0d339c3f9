/** What is used of the hub library. It loads with the first question: where nothing is missing, nobody is asked. */
export { __internal_XetBlob as XetBlob, listFiles, modelInfo } from "@huggingface/hub";
