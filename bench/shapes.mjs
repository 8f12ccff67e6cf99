// Random Llamas of the sizes for the cost curves. The time of a matrix product does not depend on
// its values.
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const llama = (
  hidden_size,
  intermediate_size,
  num_hidden_layers,
  num_attention_heads,
  num_key_value_heads,
  vocab_size,
  tie_word_embeddings = true,
) => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_act: 'silu',
  hidden_size,
  intermediate_size,
  num_hidden_layers,
  num_attention_heads,
  num_key_value_heads,
  vocab_size,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  rope_theta: 100000,
  tie_word_embeddings,
  bos_token_id: 1,
  eos_token_id: 2,
  torch_dtype: 'bfloat16',
});

export const SHAPES = {
  '30M': llama(320, 864, 12, 5, 5, 49_152),
  '135M': llama(576, 1536, 30, 9, 3, 49_152),
  '360M': llama(960, 2560, 32, 15, 5, 49_152),
  '1B': llama(2048, 8192, 16, 32, 8, 128_256),
  '8B': llama(4096, 14_336, 32, 32, 8, 128_256, false),
  tiny: llama(32, 48, 2, 2, 2, 97),
};

/** The name of a shape that is given in any case; undefined where there is none. */
export const shapeNamed = (given) =>
  Object.keys(SHAPES).find((name) => name.toLowerCase() === given.toLowerCase());

/** [name, shape] of every tensor, as Hugging Face names them. */
function tensors({
  hidden_size: d,
  intermediate_size: f,
  num_hidden_layers,
  num_attention_heads: heads,
  num_key_value_heads: kv,
  vocab_size,
  tie_word_embeddings,
}) {
  const head = d / heads;
  const all = [
    ['model.embed_tokens.weight', [vocab_size, d]],
    ['model.norm.weight', [d]],
  ];
  if (!tie_word_embeddings) all.push(['lm_head.weight', [vocab_size, d]]);
  for (let i = 0; i < num_hidden_layers; i++) {
    const layer = {
      'self_attn.q_proj': [d, d],
      'self_attn.k_proj': [kv * head, d],
      'self_attn.v_proj': [kv * head, d],
      'self_attn.o_proj': [d, d],
      'mlp.gate_proj': [f, d],
      'mlp.up_proj': [f, d],
      'mlp.down_proj': [d, f],
      input_layernorm: [d],
      post_attention_layernorm: [d],
    };
    for (const [name, shape] of Object.entries(layer))
      all.push([`model.layers.${i}.${name}.weight`, shape]);
  }
  return all;
}

const size = (shape) => shape.reduce((product, length) => product * length, 1);

export const parametersOf = (name) =>
  tensors(SHAPES[name]).reduce((sum, [, shape]) => sum + size(shape), 0);

/**
 * bf16 weights and their packed copy, fp32 masters, gradient and moments, and space for
 * activations.
 */
export const trainingBytes = (parameters) => 20 * parameters + 3e9;

/**
 * Writes `folder`/NAME and returns it, with another vocabulary `folder`/NAME-VOCABULARY. Weights
 * are normal numbers, repeated from a pool; those of the head are large enough that sampling has a
 * nucleus to find.
 */
export function writeModel(folder, name, vocabulary = SHAPES[name].vocab_size) {
  const config = { ...SHAPES[name], vocab_size: vocabulary };
  const path = join(
    folder,
    vocabulary === SHAPES[name].vocab_size ? name : `${name}-${vocabulary}`,
  );
  const all = tensors(config);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'config.json'), JSON.stringify(config));
  let end = 0;
  const header = Object.fromEntries(
    all.map(([tensor, shape]) => [
      tensor,
      { dtype: 'BF16', shape, data_offsets: [end, (end += 2 * size(shape))] },
    ]),
  );
  let json = JSON.stringify(header);
  json += ' '.repeat((8 - (json.length % 8)) % 8);
  const file = openSync(join(path, 'model.safetensors'), 'w');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeSync(file, length);
  writeSync(file, json);
  const pools = new Map();
  for (const [tensor, shape] of all) {
    const deviation =
      shape.length === 1
        ? 0
        : (tensor.includes('embed') || tensor === 'lm_head.weight' ? 6 : 1) / Math.sqrt(shape[1]);
    if (!pools.has(deviation)) pools.set(deviation, pool(deviation));
    writeRepeated(file, pools.get(deviation), 2 * size(shape));
  }
  closeSync(file);
  return path;
}

const POOL = (1 << 20) + 7; // odd, so that no row repeats another

/** bf16 numbers around 0; with deviation 0 ones, for norms. */
function pool(deviation) {
  let state = 1;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const normal = Float32Array.from({ length: POOL }, () =>
    deviation === 0 ? 1 : (uniform() + uniform() + uniform() + uniform() - 2) * 1.73 * deviation,
  );
  const bits = new Uint32Array(normal.buffer);
  return Buffer.from(Uint16Array.from(bits, (value) => value >>> 16).buffer);
}

function writeRepeated(file, bytes, count) {
  for (let left = count; left > 0; left -= bytes.length)
    writeSync(file, bytes, 0, Math.min(left, bytes.length));
}
