// One sample of the roofline in a fresh process: the rates of libtorch's GEMMs and of a memory copy
// on this machine. The driver runs it between the trials of every case, so that shares compare
// measurements of the same minutes.
import { benchmarkCopy, benchmarkGemm } from '../dist/engine/addon.js';
import { matrices } from './flops.mjs';
import { edgeOf } from './tables.mjs';
import { report, spec } from './trial.mjs';

/** Enough repeats for about `wanted` seconds. */
async function rate(work, perCall, wanted) {
  const once = await work(1);
  return perCall / (await work(Math.max(1, Math.min(10_000, Math.round(wanted / once)))));
}

async function measureRoofline({ config, quick, device, rows = 40 }) {
  const edge = quick ? 256 : edgeOf(device);
  const wanted = quick ? 0.01 : 0.5;
  const gemm = (m, k, n, dtype, time = wanted) =>
    rate((repeats) => benchmarkGemm({ m, k, n, dtype, device, repeats }), 2 * m * k * n, time);
  const bytes = quick ? 1 << 22 : device === 'cpu' ? 1 << 28 : 2 ** 31;
  const square = async (dtype) => [
    await gemm(edge, edge, edge, dtype),
    await gemm(rows, edge, edge, dtype),
  ];
  const [bf16, bf16Rows] = await square('bfloat16');
  const [fp32, fp32Rows] = await square('float32');
  return {
    bf16,
    fp32,
    bf16Rows,
    fp32Rows,
    bf16ModelRows: await modelRate(config, rows, (m, k, n) =>
      gemm(m, k, n, 'bfloat16', wanted / 5),
    ),
    copy: await rate((repeats) => benchmarkCopy({ bytes, device, repeats }), 2 * bytes, wanted),
  };
}

/** The rate over all matrix products of one decode step, each with its own rate. */
async function modelRate(config, rows, gemm) {
  let flops = 0;
  let time = 0;
  for (const { inner, outer, count } of matrices(config)) {
    const work = 2 * rows * inner * outer * count;
    flops += work;
    time += work / (await gemm(rows, inner, outer));
  }
  return flops / time;
}

report(await measureRoofline(spec));
