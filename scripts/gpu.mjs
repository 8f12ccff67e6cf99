// Checks for a usable GPU before anything is built for one.
import { probe } from './steps.mjs';

/** Ends the script with code 2 and a sentence if the driver lists no GPU. */
export function requireGpu(script) {
  if (/^GPU \d/m.test(probe('nvidia-smi', ['-L']) ?? '')) return;
  console.error(
    `${script} needs an NVIDIA GPU, and this machine shows none (\`nvidia-smi -L\` lists ` +
      `none); what needs no GPU is in \`npm test\` and \`npm run build:cuda\`.`,
  );
  process.exit(2);
}

/**
 * The same check by the addon: a GPU that the driver lists may be too old, or the driver may be.
 */
export function requireUsable(script, { cuda }) {
  if (cuda.gpus.length > 0) return;
  console.error(`${script} needs a GPU that cream-lm can use: ${cuda.problem}.`);
  process.exit(2);
}
