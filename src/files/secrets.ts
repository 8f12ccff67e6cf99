/** What a text for people, a terminal or a log must not hold. */

/** Without user names and passwords of URLs, signed parts of queries and tokens of the hub. */
export function withoutSecrets(text: string): string {
  return text
    .replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/?#]*@/gi, '$1***@')
    .replace(
      /([?&][\w.-]*(?:token|key|signature|credential|password|secret)[\w.-]*=)[^&\s]+/gi,
      '$1***',
    )
    .replace(/\bhf_[A-Za-z0-9]{8,}/g, 'hf_***');
}

/**
 * Text for a terminal, in which a file's name or content may be quoted: characters that would steer
 * the terminal are shown as `\\x1b`.
 */
export const withoutControls = (text: string): string =>
  text.replace(
    /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
