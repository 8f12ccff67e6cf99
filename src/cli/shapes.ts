/**
 * Configs of models by their size, for plans without a download: Llama 2 (7b, 13b) and Llama 3
 * (8b).
 */
import { RunError } from '../run/errors.js';

interface Shape {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  max_position_embeddings: number;
}

export const SHAPES: Readonly<Record<string, Shape>> = {
  '7b': {
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    max_position_embeddings: 4096,
  },
  '8b': {
    vocab_size: 128_256,
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 8192,
  },
  '13b': {
    vocab_size: 32_000,
    hidden_size: 5120,
    intermediate_size: 13_824,
    num_hidden_layers: 40,
    num_attention_heads: 40,
    num_key_value_heads: 40,
    max_position_embeddings: 4096,
  },
};

/** The config.json of a Llama model of that shape. @throws Error for an unknown name */
export function shapeJson(name: string): string {
  const known = name.toLowerCase();
  const shape = Object.hasOwn(SHAPES, known) ? SHAPES[known] : undefined;
  if (!shape)
    throw new RunError(
      'ERR_RECIPE',
      `There is no shape '${name}'; known are ${Object.keys(SHAPES).join(', ')}.`,
    );
  return JSON.stringify({
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    rms_norm_eps: 1e-5,
    ...shape,
  });
}
