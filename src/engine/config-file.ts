/** The config.json that is saved beside weights. */
import type { NativeDType } from './addon.js';

/**
 * The original config.json with the dtype of the saved weights. transformers 5 reads `dtype`, older
 * versions read `torch_dtype`.
 */
export function configFile(original: Record<string, unknown>, dtype: NativeDType): string {
  const config = {
    ...original,
    ...('dtype' in original && { dtype }),
    ...(!('dtype' in original && !('torch_dtype' in original)) && { torch_dtype: dtype }),
  };
  // JSON.stringify writes 30.0 as 30, but transformers 5 requires floats for these keys (e.g. caps
  // of Gemma).
  const text = JSON.stringify(config, null, 2).replace(
    /"(\w+_logit_softcapping|initializer_range|rms_norm_eps)": (\d+)(?=[,\n])/g,
    '"$1": $2.0',
  );
  return `${text}\n`;
}
