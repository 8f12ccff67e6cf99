/**
 * Text for people and logs, without secrets: user names and passwords of URLs, signed parts of
 * query strings, tokens of the hub.
 */
export function withoutSecrets(text: string): string {
  return text
    .replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/?#]*@/gi, '$1***@')
    .replace(
      /([?&][\w.-]*(?:token|key|signature|credential|password|secret)[\w.-]*=)[^&\s]+/gi,
      '$1***',
    )
    .replace(/\bhf_[A-Za-z0-9]{8,}/g, 'hf_***');
}
