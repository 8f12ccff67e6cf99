/** Estimates the traffic between the GPUs of a run from sizes and nominal link rates. */
import { RunError } from '../run/errors.js';
import type { DType } from '../engine/model.js';

/** `gpus` on each of `nodes` machines. */
export interface Cluster {
  gpus: number;
  nodes: number;
}

/** Bytes that each GPU sends and receives in training, and the seconds that they take together. */
export interface Traffic {
  /** Per micro-batch; for an adapter, whose gradients are reduced once per step, per step. */
  gradients: number;
  /** Per step, or per micro-batch where they are sharded; 0 for an adapter. */
  weights: number;
  /** The tensors that the GPUs shard (`train.shard`). */
  shard: 'optimizer' | 'weights';
  seconds: number;
  /**
   * Tokens per GPU from which an H100 computes for longer than it communicates: the backward pass
   * of a micro-batch takes longer than sending its gradients; with sharded weights, each pass takes
   * longer than all that it sends; with an adapter, a step takes longer than its traffic.
   */
  tokens: number;
}

/** Bytes per second of NVLink 4, and of a network link of 400 Gb/s; collectives reach 80 %. */
const NVLINK = 450e9;
const LINK = 50e9;
const EFFICIENCY = 0.8;
/**
 * FLOP/s of full fine-tuning of an 8B model on one H100, 44 % of its nominal 989 TFLOP/s. The
 * forward pass takes 2 FLOPs per parameter and token, the backward pass 4, or 2 for frozen weights.
 */
const TRAINING_FLOPS = 0.44 * 989.4e12;

/** The cluster of --gpus and --nodes; undefined for a single GPU. @throws naming a wrong count. */
export function clusterOf({ gpus, nodes }: { gpus?: string; nodes?: string }): Cluster | undefined {
  const count = (flag: string, text = '1') => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= 1 && value <= 100_000) return value;
    throw new RunError(
      'ERR_RECIPE',
      `--${flag} must be a whole number from 1 to 100000, got '${text}'.`,
    );
  };
  const cluster = { gpus: count('gpus', gpus), nodes: count('nodes', nodes) };
  return cluster.gpus * cluster.nodes > 1 ? cluster : undefined;
}

/** `weights` and `adapter` count parameters; only an adapter is trained if there is one. */
interface Trained {
  weights: number;
  adapter: number | undefined;
  dtype: DType;
  shard: 'optimizer' | 'weights';
}

/** The traffic of data-parallel training on a cluster. */
export function trainingTraffic(
  { weights, adapter, dtype, shard }: Trained,
  { gpus, nodes }: Cluster,
): Traffic {
  const ranks = gpus * nodes;
  const part = (ranks - 1) / ranks;
  // Gradients are reduced in float32. An adapter's sums are also sent back in float32, because its
  // weights are not gathered.
  const gradients = 4 * (adapter ?? weights) * part * (adapter === undefined ? 1 : 2);
  const once = adapter === undefined ? (dtype === 'float32' ? 4 : 2) * weights * part : 0;
  // Sharded weights are gathered for the forward and again for the backward pass.
  const gathered = shard === 'weights' ? 2 * once : once;
  // Each ring crosses between two machines once, and there is one ring per GPU's network link.
  const rate = EFFICIENCY * (nodes > 1 ? Math.min(NVLINK, gpus * LINK) : NVLINK);
  const seconds = (gradients + gathered) / rate;
  const sent = shard === 'weights' ? gradients + once : gradients;
  const backward = (adapter === undefined ? sent / rate : seconds) / (4 * weights);
  const forward = shard === 'weights' ? once / rate / (2 * weights) : 0;
  const tokens = Math.ceil(Math.max(backward, forward) * TRAINING_FLOPS);
  return { gradients, weights: gathered, shard, seconds, tokens };
}

/** `training on 16 GPUs sends 30.1 GB of gradients per GPU and micro-batch …` */
export function trafficLine(traffic: Traffic, { gpus, nodes }: Cluster): string {
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 1)} GB`;
  const links = nodes > 1 ? '400 Gb/s per GPU between machines' : 'NVLink within the machine';
  const tokens = `${traffic.tokens.toLocaleString('en-US')} tokens`;
  const sent =
    traffic.shard === 'weights'
      ? `${gb(traffic.gradients)} of gradients and ${gb(traffic.weights)} of weights per GPU and ` +
        `micro-batch, hidden by both passes from ${tokens} on`
      : traffic.weights > 0
        ? `${gb(traffic.gradients)} of gradients per GPU and micro-batch, hidden by the backward ` +
          `pass from ${tokens} on, and ${gb(traffic.weights)} of weights per step`
        : `${gb(traffic.gradients)} of gradients per GPU and step, which takes less time than ` +
          `computing from ${tokens} on`;
  return (
    `training on ${gpus * nodes} GPUs sends ${sent}: ${traffic.seconds.toFixed(2)} s over ` +
    `${links} at 80 % (calculated for H100s, not measured)`
  );
}
