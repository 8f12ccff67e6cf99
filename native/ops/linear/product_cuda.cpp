// Products by cuBLASLt without split-K. All of its kernels for tensor cores then sum over the
// inputs in the same order, 16 at a time, so they give the same bits and the fastest can be chosen
// by measurement. Each is verified first: it is used only if a trial product has the bits of
// thin_block.h, which defines the order.
#include <ATen/cuda/CUDAContext.h>
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <ATen/cuda/CUDAGraphsUtils.cuh>

#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

#include "ops/linear/cuda.h"
#include "ops/linear/product.h"
#include "support/device.h"
#include "support/error.h"

namespace cream::ops::device {
namespace {

void check(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(ErrorCode::internal,
                "linear: cuBLASLt failed (" + std::string(cublasLtGetStatusString(status)) + ").");
}

template <class Handle, cublasStatus_t (*destroy)(Handle)>
struct Owned {
  Handle handle = nullptr;
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (handle != nullptr) destroy(handle);
  }
};

// y = scale·x·wᵀ + old·y. cuBLAS counts by columns: yᵀ [out, rows] = w · xᵀ.
struct Product {
  const Tensor &x, &w, &y;
  float scale = 1, old = 0;
};

struct Described {
  Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> op;
  Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> w, x, y;

  explicit Described(const Product& p) {
    const auto layout = [](cublasLtMatrixLayout_t* to, const Tensor& t) {
      check(cublasLtMatrixLayoutCreate(to, t.scalar_type() == at::kFloat ? CUDA_R_32F : CUDA_R_16BF,
                                       t.size(1), t.size(0), t.stride(0)));
    };
    check(cublasLtMatmulDescCreate(&op.handle, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(cublasLtMatmulDescSetAttribute(op.handle, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                         sizeof transposed));
    layout(&w.handle, p.w), layout(&x.handle, p.x), layout(&y.handle, p.y);
  }
};

struct Algorithm {
  bool thin = false;  // thin_block.h instead of cuBLASLt
  cublasLtMatmulAlgo_t lt{};
  size_t workspace = 0;

  std::string bytes() const {
    return thin ? "thin" : std::string(reinterpret_cast<const char*>(&lt), sizeof lt);
  }
};

// False if the algorithm does not support the product.
bool run(const Product& p, const Algorithm& algorithm) {
  if (algorithm.thin) return thin_product(p.x, p.w, p.y), true;
  const Described d(p);
  Tensor workspace;
  if (algorithm.workspace > 0)
    workspace =
        at::empty({static_cast<int64_t>(algorithm.workspace)}, p.x.options().dtype(at::kByte));
  void* const y = p.y.mutable_data_ptr();
  const cublasStatus_t status = cublasLtMatmul(
      at::cuda::getCurrentCUDABlasLtHandle(), d.op.handle, &p.scale, p.w.const_data_ptr(),
      d.w.handle, p.x.const_data_ptr(), d.x.handle, &p.old, y, d.y.handle, y, d.y.handle,
      &algorithm.lt, algorithm.workspace > 0 ? workspace.mutable_data_ptr() : nullptr,
      algorithm.workspace, at::cuda::getCurrentCUDAStream());
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return false;
  check(status);
  return true;
}

// The library's proposals for `rows` rows of a product like this, best first.
std::vector<Algorithm> proposals(const Product& p, int64_t rows, int most) {
  const Described d(p);
  const uint64_t columns = static_cast<uint64_t>(rows);
  for (cublasLtMatrixLayout_t layout : {d.x.handle, d.y.handle})
    check(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_COLS, &columns,
                                           sizeof columns));
  Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> wanted;
  check(cublasLtMatmulPreferenceCreate(&wanted.handle));
  const size_t workspace = 4 << 20;
  const uint32_t split = CUBLASLT_REDUCTION_SCHEME_NONE;
  check(cublasLtMatmulPreferenceSetAttribute(
      wanted.handle, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
  check(cublasLtMatmulPreferenceSetAttribute(
      wanted.handle, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &split, sizeof split));
  const uint32_t alignment = 16;
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    check(cublasLtMatmulPreferenceSetAttribute(wanted.handle, attribute, &alignment,
                                               sizeof alignment));
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<size_t>(most));
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      at::cuda::getCurrentCUDABlasLtHandle(), d.op.handle, d.w.handle, d.x.handle, d.y.handle,
      d.y.handle, wanted.handle, most, found.data(), &count);
  std::vector<Algorithm> out;
  if (status == CUBLAS_STATUS_SUCCESS)
    for (int i = 0; i < count; ++i)
      if (found[i].state == CUBLAS_STATUS_SUCCESS)
        out.push_back({false, found[i].algo, found[i].workspaceSize});
  return out;
}

Algorithm first(const Product& p) {
  const std::vector<Algorithm> found = proposals(p, p.x.size(0), 1);
  if (found.empty())
    throw Error(ErrorCode::internal, "linear: cuBLASLt has no kernel for " +
                                         std::to_string(p.w.size(0)) + " × " +
                                         std::to_string(p.w.size(1)) + ".");
  return found[0];
}

// Deterministic numbers in (−1, 1) that look random; no generator's state changes.
Tensor sample(int64_t rows, int64_t columns, double step, const Tensor& like) {
  return at::arange(rows * columns, like.options().dtype(at::kFloat))
      .mul_(step)
      .sin_()
      .mul_(43758.5453)
      .frac_()
      .view({rows, columns})
      .to(at::kBFloat16);
}

// Whether an algorithm's product has the bits of thin_block.h. The product tried has the inputs of
// `p` and up to 512 outputs and 512 rows.
class Verifier {
 public:
  explicit Verifier(const Product& p)
      : x_(sample(std::min<int64_t>(p.x.size(0), 512), p.x.size(1), 12.9898, p.x)),
        w_(sample(std::min<int64_t>(p.w.size(0), 512), p.w.size(1), 78.233, p.w)) {
    const auto options = p.y.options();
    y_ = at::empty({x_.size(0), w_.size(0)}, options);
    const Tensor few = x_.narrow(0, 0, std::min<int64_t>(kThinRows, x_.size(0)));
    wanted_ = at::empty({few.size(0), w_.size(0)}, options);
    thin_product(few, w_, wanted_);
  }

  bool holds(const Algorithm& algorithm) const {
    if (algorithm.thin) return true;
    y_.fill_(NAN);
    return run({x_, w_, y_}, algorithm) && at::equal(y_.narrow(0, 0, wanted_.size(0)), wanted_);
  }

 private:
  Tensor x_, w_, y_, wanted_;
};

// Seconds of one run; infinite if the algorithm does not support the product.
double seconds_of(const Product& p, const Algorithm& algorithm) {
  if (!run(p, algorithm)) return INFINITY;
  const auto stream = at::cuda::getCurrentCUDAStream();
  at::cuda::CUDAEvent begin(cudaEventDefault), end(cudaEventDefault);
  double best = INFINITY;
  for (int i = 0; i < 3; ++i) {
    begin.record(stream);
    run(p, algorithm);
    end.record(stream);
    end.synchronize();
    best = std::min(best, static_cast<double>(begin.elapsed_time(end)));
  }
  return best * 1e-3;
}

// Numbers of rows with the same bucket share an algorithm. Each number has its own up to 512, the
// sizes that CUDA graphs capture; above there are four buckets per factor of two.
int64_t bucket(int64_t rows) {
  if (rows <= 512) return rows;
  int64_t unit = 128;
  while (unit * 8 <= rows) unit *= 2;
  return (rows + unit - 1) / unit * unit;
}

class Algorithms {
 public:
  // The algorithm for a product. Measuring overwrites p.y.
  Algorithm of(const Product& p) {
    const std::lock_guard lock(mutex_);
    for (const int64_t rows : {p.x.size(0), bucket(p.x.size(0))})
      if (const auto known = chosen_.find(key(p, rows)); known != chosen_.end())
        return known->second;
    return chosen(p, bucket(p.x.size(0)));
  }

  // One for this number of rows alone, where the algorithm of its bucket refuses the product.
  Algorithm again(const Product& p) {
    const std::lock_guard lock(mutex_);
    return chosen(p, p.x.size(0));
  }

  // One algorithm for all numbers of rows, because kernels round differently when they add to y.
  Algorithm adding(const Product& p) {
    const std::lock_guard lock(mutex_);
    if (const auto known = chosen_.find(key(p, 0)); known != chosen_.end()) return known->second;
    const std::vector<Algorithm> found = proposals(p, 1024, 1);
    return found.empty() ? first(p) : chosen_[key(p, 0)] = found[0];
  }

 private:
  using Key = std::tuple<int, int64_t, int64_t, int64_t, at::ScalarType>;

  static Key key(const Product& p, int64_t rows) {
    return {p.x.get_device(), p.w.size(0), p.w.size(1), rows, p.y.scalar_type()};
  }

  // Measured and remembered for `rows`; in a capture, where nothing can be measured, the first.
  Algorithm chosen(const Product& p, int64_t rows) {
    if (at::cuda::currentStreamCaptureStatusMayInitCtx() != at::cuda::CaptureStatus::None)
      return first(p);
    return chosen_[key(p, rows)] = choose(p);
  }

  Algorithm choose(const Product& p) {
    const int64_t rows = p.x.size(0);
    std::vector<Algorithm> found = proposals(p, rows, rows > 512 ? 4 : 8);
    if (rows < 320)  // without split-K the library proposes little for few rows
      for (const int64_t more : {64, 160, 320})
        for (const Algorithm& algorithm : proposals(p, more, 3)) found.push_back(algorithm);
    if (takes_thin(p.x, p.w)) found.push_back({true, {}, 0});
    const Verifier verifier(p);
    std::map<std::string, bool> seen;
    Algorithm best = found.empty() ? first(p) : found[0];
    double least = INFINITY;
    for (const Algorithm& algorithm : found) {
      if (!seen.emplace(algorithm.bytes(), true).second || !verifier.holds(algorithm)) continue;
      const double seconds = seconds_of(p, algorithm);
      if (seconds < least) least = seconds, best = algorithm;
    }
    return best;
  }

  std::mutex mutex_;
  std::map<Key, Algorithm> chosen_;
};

Algorithms& algorithms() {
  static auto& all = *new Algorithms;  // never destroyed: at exit the device may be gone
  return all;
}

bool aligned(const Tensor& t) {
  return t.dim() == 2 && t.stride(1) == 1 && t.stride(0) % 8 == 0 && t.stride(0) >= t.size(1) &&
         reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0;
}
bool takes(const Tensor& x, const Tensor& w) {
  return x.is_cuda() && x.scalar_type() == at::kBFloat16 && w.scalar_type() == at::kBFloat16 &&
         aligned(x) && aligned(w) && x.size(1) % 8 == 0 && w.size(0) % 8 == 0;
}

void multiply(const Product& p, const Algorithm& algorithm) {
  if (!run(p, algorithm))
    throw Error(ErrorCode::internal, "linear: cuBLASLt refuses a product that it proposed.");
}

}  // namespace

Tensor product(const Tensor& x, const Tensor& w, at::ScalarType dtype) {
  if (!takes(x, w)) {
    if (dtype == x.scalar_type()) return reference::linear(x, w);
    return x.is_cuda() && x.scalar_type() == at::kBFloat16 ? at::mm(x, w.t(), dtype)
                                                           : reference::linear_f32(x, w);
  }
  const at::DeviceGuard guard(x.device());
  const Tensor y = at::empty({x.size(0), w.size(0)}, x.options().dtype(dtype));
  if (y.numel() == 0) return y;
  const Product p{x, w, y};
  // The algorithm was chosen for one number of rows of its bucket, and may refuse another one.
  if (!run(p, algorithms().of(p))) multiply(p, algorithms().again(p));
  return y;
}

void add_product(const Tensor& y, const Tensor& x, const Tensor& w, double scale) {
  if (!takes(x, w) || !aligned(y) || y.numel() == 0) {
    const Tensor sum = y;
    sum.addmm_(x, w.t(), 1, scale);
    return;
  }
  const at::DeviceGuard guard(x.device());
  const Product p{x, w, y, static_cast<float>(scale), 1};
  multiply(p, algorithms().adding(p));
}

}  // namespace cream::ops::device
