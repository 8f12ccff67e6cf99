// The memory plan: one case against a sum by hand, activations against measured peaks.
#include <atomic>
#include <cstdlib>

#include <c10/core/CPUAllocator.h>

#include "engine/plan.h"
#include "ops/attention/page.h"
#include "tiny_model.h"
#include "train/trainer.h"
#include "trainer_params.h"

#include "check.h"

using namespace cream;

namespace {

ModelConfig llama3_8b() {
  return config_from_json(
      R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":128256,)"
      R"("hidden_size":4096,"intermediate_size":14336,
    "num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,)"
      R"("max_position_embeddings":8192,"rms_norm_eps":1e-5,"rope_theta":500000.0})",
      "test");
}

uint64_t part(const Plan& plan, const std::string& name) {
  for (const PlanPart& part : plan.parts)
    if (part.name == name) return part.bytes;
  return 0;
}

// Counts the bytes of tensors; allocates with the C library.
class Counting final : public c10::Allocator {
 public:
  static inline std::atomic<int64_t> live{0}, peak{0};
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &give_back, c10::Device(c10::DeviceType::CPU)};
    auto* block = static_cast<char*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64));
    *reinterpret_cast<size_t*>(block) = bytes;
    live += static_cast<int64_t>(bytes);
    peak = std::max(peak.load(), live.load());
    return {block + 64, block + 64, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  static void give_back(void* data) {
    if (data == nullptr) return;
    char* const block = static_cast<char*>(data) - 64;
    live -= static_cast<int64_t>(*reinterpret_cast<size_t*>(block));
    std::free(block);
  }
};

// Peak bytes of one SFT step on `rows` packed rows, above the bytes live before it.
int64_t step_peak(bool checkpointing, int64_t rows) {
  static Counting counting;
  c10::Allocator* const before = c10::GetCPUAllocator();
  c10::SetCPUAllocator(&counting, 200);
  int64_t peak = 0;
  {
    check::TinyShape shape;
    shape.context = 1024;
    Transformer model = check::tiny_model(shape);
    TrainerParams params = check::trainer_params();
    params.micro_batch_tokens = rows;
    params.activation_checkpointing = checkpointing;
    Trainer trainer(model, params, {});
    const int64_t base = Counting::live;
    Counting::peak = base;
    trainer.sft_step({{check::tiny_tokens(rows - 8, 1), check::tiny_tokens(9, 2)}}, Cancel());
    peak = Counting::peak - base;
  }
  c10::SetCPUAllocator(before, 200);
  return peak;
}

}  // namespace

CHECK_CASE(
    "plan: a full training step of an 8B model in 8 bytes a parameter, added up by hand, fits a "
    "card of 80 GiB") {
  PlanRequest request;
  request.config = llama3_8b();
  request.device_bytes = uint64_t{80} << 30;
  request.forms = OptimizerForms{true, true, true};
  request.activation_checkpointing = true;
  request.micro_batch_tokens = 2048;
  const Plan plan = plan_memory(request);
  // Embedding and head 128256·4096 each; a layer qkv 6144·4096, out 4096·4096, gate and up
  // 28672·4096, down 4096·14336; norms 65·4096.
  const uint64_t embedding = 525336576, layer = 25165824 + 16777216 + 117440512 + 58720256,
                 matrices = 2 * embedding + 32 * layer, norms = 65 * 4096;
  CHECK(matrices + norms == 8030261248);
  CHECK(part(plan, "weights") == 2 * (matrices + norms));
  CHECK(part(plan, "master weights") == 2 * matrices + 4 * norms);
  CHECK(part(plan, "optimizer states") == 2 * matrices + 8 * (matrices / 256) + 8 * norms);
  CHECK(part(plan, "gradients") == 2 * (matrices - embedding) + 4 * (embedding + norms));
  CHECK(plan.fits());
  request.forms = OptimizerForms{};
  const Plan full = plan_memory(request);
  CHECK(!full.fits() && full.bytes == request.device_bytes + full.short_bytes);
  request.forms.reset();
  const Plan free = plan_memory(request);
  CHECK(free.fits() && free.forms.states_8bit && free.forms.split_masters);  // no larger forms fit
}

CHECK_CASE("plan: every stage of it adds up, and more memory never takes anything away") {
  for (const PlanStage stage : {PlanStage::sample, PlanStage::score, PlanStage::train}) {
    PlanRequest request;
    request.config = llama3_8b();
    request.stage = stage;
    request.lora = LoraParams{16, 32, 0, false, {}};
    int64_t before = 0;
    for (const uint64_t gib : {24, 40, 80, 141}) {
      request.device_bytes = gib << 30;
      const Plan plan = plan_memory(request);
      uint64_t sum = 0;
      for (const PlanPart& part : plan.parts) sum += part.bytes;
      CHECK(sum == plan.bytes && plan.fits());
      const int64_t chosen =
          plan.activation_checkpointing
              ? 0
              : plan.micro_batch_tokens + plan.max_num_seqs + plan.max_num_batched_tokens;
      CHECK(chosen >= before);
      before = chosen;
    }
  }
}

CHECK_CASE(
    "plan: rows and batches that are asked for are upper bounds, and one row has the pages of any "
    "prompt") {
  PlanRequest request;
  request.config = llama3_8b();
  request.stage = PlanStage::sample;
  request.max_num_seqs = 100;
  request.device_bytes = uint64_t{80} << 30;
  CHECK(plan_memory(request).max_num_seqs == 100 && plan_memory(request).prefill_tokens == 4096);
  request.device_bytes = uint64_t{20} << 30;
  const Plan few = plan_memory(request);
  CHECK(few.fits() && few.max_num_seqs > 1 && few.max_num_seqs < 96);
  request.stage = PlanStage::score;
  request.max_num_batched_tokens = 3000;
  CHECK(plan_memory(request).max_num_batched_tokens == 3000);
  request.device_bytes = uint64_t{16990} << 20;
  const Plan small = plan_memory(request);
  CHECK(small.fits() && small.max_num_batched_tokens == 2048);

  request.stage = PlanStage::sample;
  request.max_num_seqs = 1;
  const auto pages = [](int64_t positions) { return (positions + page_size - 1) / page_size; };
  for (request.prompt_tokens = 1; request.prompt_tokens < 50; ++request.prompt_tokens)
    for (request.new_tokens = 1; request.new_tokens < 40; ++request.new_tokens) {
      const int64_t has = plan_memory(request).kv_pages;
      for (int64_t length = 1; length <= request.prompt_tokens; ++length)
        CHECK(has >= pages(length) + pages(length + request.new_tokens - 1) - length / page_size);
    }
}

CHECK_CASE("plan: activations are what a step takes at its peak") {
  const ModelConfig config = check::tiny_model().config();
  for (const bool checkpointing : {false, true}) {
    const int64_t few = step_peak(checkpointing, 256), many = step_peak(checkpointing, 768);
    const LayerBytes layer = layer_bytes(config, DType::float32, std::nullopt);
    const int64_t layers = config.num_layers, hidden = 4 * config.hidden_size;
    const int64_t planned =
        checkpointing ? layers * hidden + std::max(layer.forward, layer.kept + layer.backward)
                      : layers * layer.kept + layer.backward;
    const double measured = static_cast<double>(many - few) / 512;  // bytes per row
    std::printf("  checkpointing %d: %.0f bytes a token measured, %lld planned\n", checkpointing,
                measured, static_cast<long long>(planned));
    CHECK(std::abs(measured - static_cast<double>(planned)) <= 0.1 * measured);
  }
}
