/**
 * Plans the memory of a stage on a device: how much it takes, and which settings make it fit. The
 * plan is arithmetic on a config and needs neither weights nor device.
 */
import { addon, type NativePlan } from './addon.js';
import { fromNative } from './errors.js';
import { checkFields, type FieldsOf } from './fields.js';
import { PLAN_FIELDS } from './requests.js';

export type PlanRequest = FieldsOf<typeof PLAN_FIELDS>;
export type MemoryPlan = NativePlan;

/** The most sequences that `auto` decodes together on a GPU; a test compares with the plan's. */
export const MOST_SEQS = 512;

/** Throws CreamError for a config that the engine does not support and for impossible numbers. */
export function planMemory(request: PlanRequest): MemoryPlan {
  const checked = checkFields(PLAN_FIELDS, request, {
    what: '[plan] the request',
    place: (name) => `[plan] ${name}`,
    context: undefined,
  });
  const caller = new Error();
  try {
    return addon().plan(checked);
  } catch (error) {
    throw fromNative(error, caller);
  }
}
