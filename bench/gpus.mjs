// Nominal peaks of cards: dense bf16 FLOP/s with fp32 accumulation, from NVIDIA's data sheets.
// Names are the driver's; the first match counts, so specific names come before general ones.
const NOMINAL = [
  [/\bB200\b/, 2250e12],
  [/\bH200\b/, 989.4e12],
  [/\bH100 NVL\b/, 835e12],
  [/\bH100 PCIe\b/, 756e12],
  [/\bH100\b/, 989.4e12],
  [/\bA100\b/, 312e12],
  [/\bA10\b/, 125e12],
  [/\bL40S\b/, 362e12],
  [/\bL4\b/, 121e12],
  [/\bRTX 4090\b/, 165.2e12],
  [/\bRTX 3090\b/, 71e12],
];

/** undefined for a card that is not in the list; shares of the nominal peak are then left out. */
export const nominalPeak = (name = '') => NOMINAL.find(([card]) => card.test(name))?.[1];
