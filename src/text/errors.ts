/** Errors between text and token ids. `code` is for programs, the message for people. */

export type TextErrorCode =
  | 'ERR_TOKENIZER' // the tokenizer's files are missing, damaged or of a kind that is not supported
  | 'ERR_CHAT_TEMPLATE' // the template cannot be used, or not with these messages
  | 'ERR_INVALID_ARGUMENT';

export class TextError extends Error {
  readonly code: TextErrorCode;

  constructor(code: TextErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TextError';
    this.code = code;
  }
}
