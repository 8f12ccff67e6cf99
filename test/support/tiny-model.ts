/** Writes a tiny random Llama folder that loads in milliseconds; equal options give equal bytes. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generator } from '../preference/generator.js';
import { temporaryFolder } from './folders.js';

export { temporaryFolder };

export interface TinyOptions {
  seed?: number;
  vocabSize?: number;
  hiddenSize?: number;
  intermediateSize?: number;
  numLayers?: number;
  numHeads?: number;
  numKvHeads?: number;
  maxPositionEmbeddings?: number;
  tieWordEmbeddings?: boolean;
  /** Dtype of the weights in the file. */
  dtype?: 'F32' | 'BF16';
  /**
   * Adds a byte-level tokenizer (ids 0 … 255 are bytes) and a chat template; vocabSize is then at
   * least 259.
   */
  tokenizer?: boolean;
  /** Makes a sequence-classification model with this many labels. */
  labels?: number;
  /** Merged into config.json. */
  config?: Record<string, unknown>;
}

/** Writes the model and returns its folder. */
export function tinyModel(options: TinyOptions = {}): string {
  const folder = temporaryFolder('cream-tiny-');
  const shape = {
    vocabSize: options.tokenizer ? 259 : 97,
    hiddenSize: 32,
    intermediateSize: 48,
    numLayers: 2,
    numHeads: 4,
    numKvHeads: 2,
    maxPositionEmbeddings: 256,
    tieWordEmbeddings: true,
    ...options,
  };
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({
      architectures: [options.labels ? 'LlamaForSequenceClassification' : 'LlamaForCausalLM'],
      model_type: 'llama',
      hidden_act: 'silu',
      vocab_size: shape.vocabSize,
      hidden_size: shape.hiddenSize,
      intermediate_size: shape.intermediateSize,
      num_hidden_layers: shape.numLayers,
      num_attention_heads: shape.numHeads,
      num_key_value_heads: shape.numKvHeads,
      max_position_embeddings: shape.maxPositionEmbeddings,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      tie_word_embeddings: shape.tieWordEmbeddings,
      bos_token_id: 1,
      eos_token_id: options.tokenizer ? 258 : 2,
      torch_dtype: options.dtype === 'BF16' ? 'bfloat16' : 'float32',
      ...(options.labels && {
        id2label: Object.fromEntries(
          Array.from({ length: options.labels }, (_, label) => [label, `LABEL_${label}`]),
        ),
      }),
      ...options.config,
    }),
  );
  writeSafetensors(
    join(folder, 'model.safetensors'),
    [
      ...tensorShapes(shape),
      ...(options.labels
        ? [['score.weight', [options.labels, shape.hiddenSize]] as [string, number[]]]
        : []),
    ],
    random(options.seed ?? 1),
    options.dtype ?? 'F32',
  );
  if (options.tokenizer) writeTokenizer(folder);
  return folder;
}

type Shape = Required<
  Pick<
    TinyOptions,
    | 'vocabSize'
    | 'hiddenSize'
    | 'intermediateSize'
    | 'numLayers'
    | 'numHeads'
    | 'numKvHeads'
    | 'tieWordEmbeddings'
  >
>;

function tensorShapes(shape: Shape): [string, number[]][] {
  const { hiddenSize: hidden, intermediateSize: intermediate } = shape;
  const head = hidden / shape.numHeads;
  const tensors: [string, number[]][] = [['model.embed_tokens.weight', [shape.vocabSize, hidden]]];
  for (let i = 0; i < shape.numLayers; i++) {
    const layer = `model.layers.${i}.`;
    tensors.push(
      [`${layer}input_layernorm.weight`, [hidden]],
      [`${layer}self_attn.q_proj.weight`, [hidden, hidden]],
      [`${layer}self_attn.k_proj.weight`, [shape.numKvHeads * head, hidden]],
      [`${layer}self_attn.v_proj.weight`, [shape.numKvHeads * head, hidden]],
      [`${layer}self_attn.o_proj.weight`, [hidden, hidden]],
      [`${layer}post_attention_layernorm.weight`, [hidden]],
      [`${layer}mlp.gate_proj.weight`, [intermediate, hidden]],
      [`${layer}mlp.up_proj.weight`, [intermediate, hidden]],
      [`${layer}mlp.down_proj.weight`, [hidden, intermediate]],
    );
  }
  tensors.push(['model.norm.weight', [hidden]]);
  if (!shape.tieWordEmbeddings) tensors.push(['lm_head.weight', [shape.vocabSize, hidden]]);
  return tensors;
}

/**
 * Random norms around 1 and matrices with a standard deviation of 1/√columns, so that activations
 * neither vanish nor explode.
 */
function writeSafetensors(
  path: string,
  tensors: [string, number[]][],
  next: () => number,
  dtype: 'F32' | 'BF16',
): void {
  const width = dtype === 'F32' ? 4 : 2;
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const [name, shape] of tensors) {
    const begin = end;
    end += shape.reduce((a, b) => a * b, width);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  let json = JSON.stringify(header);
  json += ' '.repeat((8 - (json.length % 8)) % 8);
  const file = Buffer.alloc(8 + json.length + end);
  file.writeBigUInt64LE(BigInt(json.length), 0);
  file.write(json, 8);
  let at = 8 + json.length;
  for (const [, shape] of tensors) {
    const columns = shape.at(-1)!;
    for (let i = shape.reduce((a, b) => a * b, 1); i > 0; i--) {
      // The sum of four uniform numbers is close enough to a normal one.
      const normal = (next() + next() + next() + next() - 2) * 1.73;
      const value = shape.length === 1 ? 1 + 0.1 * normal : normal / Math.sqrt(columns);
      if (dtype === 'F32') file.writeFloatLE(value, at);
      else file.writeUInt16LE(bfloat16(value), at);
      at += width;
    }
  }
  writeFileSync(path, file);
}

function bfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function random(seed: number): () => number {
  const { integer } = generator(seed);
  return () => integer(2 ** 32) / 2 ** 32;
}

const CHAT_TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + " +
  "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt " +
  "%}{{ '<|im_start|>assistant\\n' }}{% endif %}";

function writeTokenizer(folder: string): void {
  const vocab = Object.fromEntries(byteCharacters().map((character, id) => [character, id]));
  const special = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'].map((content, i) => ({
    id: 256 + i,
    content,
    special: true,
    normalized: false,
    lstrip: false,
    rstrip: false,
    single_word: false,
  }));
  const byteLevel = {
    type: 'ByteLevel',
    add_prefix_space: false,
    trim_offsets: true,
    use_regex: false,
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, 'tokenizer.json'),
    JSON.stringify({
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: special,
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab,
        merges: [],
      },
    }),
  );
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: '<|im_start|>',
      eos_token: '<|im_end|>',
      chat_template: CHAT_TEMPLATE,
    }),
  );
  writeFileSync(
    join(folder, 'generation_config.json'),
    JSON.stringify({ eos_token_id: 258, temperature: 0.7 }),
  );
}

/** The printable character that GPT-2's byte-level BPE uses for each byte. */
function byteCharacters(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(printable(byte) ? byte : next++),
  );
}
