#include "test_device.h"

#include "check.h"
#include "emulated_device.h"
#include "support/device.h"

namespace check {

namespace {
at::Device chosen(at::kPrivateUse1, 0);
}

at::Device test_device() {
  if (chosen == kEmulated && cream::cuda_info().built)
    throw Skip("the kernels of this build are the GPU's: --device cuda runs it");
  return chosen;
}
bool runs_on_gpu() { return chosen.is_cuda(); }
std::string device_name() { return test_device().is_cuda() ? test_device().str() : "emulated"; }
void set_test_device(const std::string& name) { chosen = cream::parse_device(name); }

cream::Transformer moved(const cream::Transformer& model, at::Device device) {
  cream::Weights weights = model.weights();
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (auto& [name, tensor] : weights.parameters(model.config()))
    tensors.emplace_back(
        name, tensor->to(device, tensor->scalar_type(), /*non_blocking=*/false, /*copy=*/true));
  return cream::Transformer(model.config(),
                            cream::weights_from(model.config(), std::move(tensors)));
}

}  // namespace check

CHECK_CASE("device: a name is the CPU, a GPU that is there, or a sentence") {
  using namespace cream;
  CHECK(parse_device("cpu").is_cpu());
  CHECK(device_index("cuda") == 0 && device_index("cuda:12") == 12 && device_index("cpu") == -1);
  for (const char* name : {"", "gpu", "cuda:", "cuda:-1", "cuda:1000", "cuda:0 ", "CUDA"})
    CHECK_THROWS(invalid_argument, "is none of 'cpu', 'cuda' and 'cuda:N'", parse_device(name));
  const CudaInfo& info = cuda_info();
  CHECK(info.gpus.empty() != info.problem.empty());
  if (info.gpus.empty()) {
    CHECK_THROWS(unsupported, "device 'cuda': " + info.problem, parse_device("cuda"));
    CHECK_THROWS(unsupported, "device 'cuda:7': " + info.problem, parse_device("cuda:7"));
  } else {
    CHECK(parse_device("cuda:" + std::to_string(info.gpus[0].index)).is_cuda());
    CHECK(free_device_memory(info.gpus[0].index) <= info.gpus[0].memory_bytes);
    CHECK_THROWS(invalid_argument,
                 "is not there; this machine has 'cuda:", parse_device("cuda:999"));
  }
}
