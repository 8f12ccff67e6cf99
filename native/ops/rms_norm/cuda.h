// RMS norm on the GPU: raw device pointers, T as in support/host_device.h, `stream` a cudaStream_t.
// Returns the CUDA error number, 0 if none.
#pragma once

#include <cstdint>

namespace cream::ops {

template <class T>
struct RmsNormCuda {
  const T *x, *residual;  // residual: null for none, else h, which may be x, receives x + residual
  T* h;
  const T* weight;
  T* y;
  float* inverse;  // null: not written
  int64_t rows, width;
  float eps, offset;
};
int rms_norm_cuda(const RmsNormCuda<uint16_t>& call, void* stream);
int rms_norm_cuda(const RmsNormCuda<float>& call, void* stream);

template <class T>
struct RmsNormBackwardCuda {
  const T *h, *weight;
  const float* inverse;
  const T* dy;
  T* dh;
  float* dweight;  // [rms_norm_chunks(rows), width], to be summed by the caller; null: not computed
  int64_t rows, width;
  float offset;
  const T* added;  // null: none
};
inline int64_t rms_norm_chunk(int64_t rows) { return rows <= 1024 ? 8 : (rows + 127) / 128; }
inline int64_t rms_norm_chunks(int64_t rows) {
  return (rows + rms_norm_chunk(rows) - 1) / rms_norm_chunk(rows);
}
int rms_norm_backward_cuda(const RmsNormBackwardCuda<uint16_t>& call, void* stream);
int rms_norm_backward_cuda(const RmsNormBackwardCuda<float>& call, void* stream);

}  // namespace cream::ops
