/**
 * What a stage takes of a device's memory, and what to choose so that it fits: arithmetic on a
 * config, without weights or device.
 */
import { addon, type NativePlan, type NativePlanRequest } from './addon.js';
import {
  finiteNumber,
  integer,
  knownKeys,
  nonEmptyString,
  oneOf,
  positiveInteger,
} from './arguments.js';
import { fromNative } from './errors.js';

export type PlanRequest = NativePlanRequest;
export type MemoryPlan = NativePlan;

const KEYS = [
  'configJson',
  'source',
  'dtype',
  'stage',
  'deviceBytes',
  'lora',
  'otherModels',
  'promptTokens',
  'newTokens',
  'samples',
  'microBatchTokens',
  'maxNumBatchedTokens',
  'maxNumSeqs',
  'activationCheckpointing',
  'optimizerStates',
  'masterWeights',
  'gradientDtype',
];

/** @throws CreamError for a config that the engine does not take, and for impossible numbers. */
export function planMemory(request: PlanRequest): MemoryPlan {
  knownKeys(request, KEYS, '[plan] the request');
  nonEmptyString(request.configJson, '[plan] configJson');
  oneOf(request.dtype, ['float32', 'bfloat16'], '[plan] dtype');
  oneOf(request.stage, ['sample', 'score', 'train'], '[plan] stage');
  finiteNumber(request.deviceBytes, '[plan] deviceBytes', { min: 0 });
  integer(request.otherModels, '[plan] otherModels', 0);
  for (const key of ['promptTokens', 'newTokens', 'samples'] as const)
    positiveInteger(request[key], `[plan] ${key}`);
  for (const key of ['microBatchTokens', 'maxNumBatchedTokens', 'maxNumSeqs'] as const)
    if (request[key] !== undefined) positiveInteger(request[key], `[plan] ${key}`);
  const caller = new Error();
  try {
    return addon().plan(request);
  } catch (error) {
    throw fromNative(error, caller);
  }
}
