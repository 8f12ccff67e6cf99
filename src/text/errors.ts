/** Errors between text and token ids. `code` is for programs, the message for people. */

/** Codes of TextError. */
export type TextErrorCode =
  | 'ERR_TOKENIZER' // the tokenizer's files are missing, damaged or of a kind that is not supported
  | 'ERR_CHAT_TEMPLATE' // the template cannot be used, or not with these messages
  | 'ERR_INVALID_ARGUMENT'; // the messages or texts are not of the expected form

/** A text or conversation that cannot become token ids, or a tokenizer that cannot be used. */
export class TextError extends Error {
  /** Stable between versions. */
  readonly code: TextErrorCode;

  constructor(code: TextErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TextError';
    this.code = code;
  }
}
