// Training of LoRA adapters.
#include "adapted.h"
#include "lora_golden.h"
#include "model/parameters.h"
#include "model_files.h"
#include "ops/dispatch.h"
#include "training.h"

#include "fast_ops.h"

using namespace cream;
using model_files::TemporaryFolder;
using namespace lora_golden;
using training::examples;

namespace {

TrainerParams adapter_params(double learning_rate) {
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = learning_rate;
  params.optimizer.schedule = Schedule::constant;
  params.optimizer.total_steps = 100;
  params.optimizer.max_grad_norm = 0;
  return params;
}

std::vector<PreferencePair> pairs() {
  std::vector<PreferencePair> out;
  for (size_t i = 0; i < 3; ++i)
    out.push_back({check::tiny_tokens(4 + i, i), check::tiny_tokens(6, 50 + i),
                   check::tiny_tokens(3, 90 + i), -30, -15, 0.8});
  return out;
}

AdapterTensors moments(Trainer& trainer) {
  AdapterTensors out;
  for (const OptimizerEntry& entry : trainer.optimizer().entries())
    out.emplace_back(entry.name, entry.m);
  return out;
}

}  // namespace

CHECK_CASE("lora: gradients of A and B and the adapter after AdamW steps are PEFT's") {
  for (const char* name : {"all", "rslora"}) {
    for (const bool checkpointing : {false, true}) {
      Golden golden(name);
      TrainerParams params = adapter_params(check::number(golden.expected, "learning_rate"));
      params.optimizer.weight_decay = check::number(golden.expected, "weight_decay");
      params.activation_checkpointing = checkpointing;
      Trainer trainer(golden.model, params, golden.masters);
      CHECK(trainer.optimizer().entries().size() ==
            adapter_parameters(golden.model.weights()).size());
      const std::vector<SftExample> batch = {
          {check::tokens(golden.expected, "prompt"), check::tokens(golden.expected, "completion")}};
      const JsonArray& losses = check::array(golden.expected, "losses");
      for (size_t i = 0; i < losses.size(); ++i) {
        double loss = 0;
        CHECK(losses[i].number(loss));
        CHECK(std::abs(trainer.sft_step(batch, Cancel()).loss - loss) <= 1e-4);
        if (i > 0) continue;
        for (const JsonMember& member : *golden.expected.find("gradients")->object()) {
          const OptimizerEntry& entry =
              trainer.optimizer().entry(member.key);  // m = (1 − β1)·g after the first step
          CHECK_RELATIVE(entry.m / (1 - params.optimizer.beta1),
                         tensor_of(*member.value.array(), entry.m.sizes()), 1e-3);
        }
      }
      for (const JsonMember& member : *golden.expected.find("stepped")->object()) {
        const OptimizerEntry& entry = trainer.optimizer().entry(member.key);
        CHECK_RELATIVE(entry.master, tensor_of(*member.value.array(), entry.master.sizes()), 1e-3);
        CHECK(at::equal(entry.weight, entry.master));
      }
    }
  }
}

CHECK_CASE("lora: training writes the adapter and nothing else, whatever it targets") {
  for (const auto& targets :
       std::vector<std::vector<std::string>>{{}, {"v_proj"}, {"k_proj", "up_proj"}}) {
    check::Adapted a = check::adapted(0, at::kFloat, targets);
    Transformer untouched = check::tiny_model();
    Trainer trainer(a.model, adapter_params(1e-2), a.masters);
    const double first = trainer.sft_step(examples(), Cancel()).loss;
    StepMetrics last;
    for (int i = 0; i < 10; ++i) last = trainer.sft_step(examples(), Cancel());
    CHECK(last.loss < first - 0.1);
    const auto base = a.model.weights().parameters(a.model.config()),
               before = untouched.weights().parameters(untouched.config());
    for (size_t i = 0; i < base.size(); ++i) CHECK(at::equal(*base[i].second, *before[i].second));
    for (const OptimizerEntry& entry : trainer.optimizer().entries())
      CHECK(entry.decay && entry.v.sum().item<double>() > 0);
  }
}

CHECK_CASE("lora: bf16 follows fp32, and scores with the trained adapter") {
  check::Adapted exact = check::adapted(), rounded = check::adapted(0, at::kBFloat16);
  Trainer exact_trainer(exact.model, adapter_params(2e-3), exact.masters),
      rounded_trainer(rounded.model, adapter_params(2e-3), rounded.masters);
  StepMetrics a, b;
  for (int i = 0; i < 10; ++i) {
    a = exact_trainer.preference_step(pairs(), Cancel());
    b = rounded_trainer.preference_step(pairs(), Cancel());
  }
  CHECK(std::abs(a.loss - b.loss) <= 0.05 * std::max(1.0, a.loss));
  for (const OptimizerEntry& entry : rounded_trainer.optimizer().entries())
    CHECK(at::equal(entry.weight, entry.master.to(at::kBFloat16)));
  ScoringRequest request;
  request.groups.push_back({pairs()[0].prompt, {pairs()[0].chosen}});
  const double fast = score(rounded.model, request, {}, Cancel()).sums[0];
  const ops::ForcePlain force;
  CHECK(std::abs(fast - score(rounded.model, request, {}, Cancel()).sums[0]) <= 0.3);
}

CHECK_CASE(
    "lora: with dropout, checkpointing recomputes the same masks and a resumed run goes on "
    "exactly") {
  const auto trained = [](bool checkpointing, int steps, const std::string& from,
                          const std::string& to, uint64_t seed = 11) {
    check::Adapted a = check::adapted(0.4);
    TrainerParams params = adapter_params(1e-3);
    params.micro_batch_tokens = 24;
    params.activation_checkpointing = checkpointing;
    params.dropout_seed = seed;
    Trainer trainer(a.model, params, a.masters);
    if (!from.empty()) trainer.load_state({from});
    for (int i = 0; i < steps; ++i) trainer.sft_step(examples(), Cancel());
    if (!to.empty()) trainer.save_state(to);
    return moments(trainer);
  };
  const TemporaryFolder folder;
  const std::string half = folder.file("half");
  const AdapterTensors whole = trained(false, 4, "", "");
  trained(false, 2, "", half);
  const AdapterTensors resumed = trained(false, 2, half, ""), again = trained(true, 4, "", ""),
                       other = trained(false, 4, "", "", 12);
  double difference = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    CHECK(at::equal(whole[i].second, resumed[i].second));
    CHECK_RELATIVE(again[i].second, whole[i].second, 1e-4);
    difference += (other[i].second - whole[i].second).abs().sum().item<double>();
  }
  CHECK(difference > 1e-2);
  CHECK_THROWS(invalid_argument, "dropout_seed 11, this trainer has 12",
               trained(false, 1, half, "", 12));
}

CHECK_CASE("lora: a trainer's state names its adapter and refuses another's") {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  check::Adapted a = check::adapted();
  Trainer trainer(a.model, adapter_params(1e-3), a.masters);
  trainer.save_state(path);
  check::Adapted alpha = check::adapted(0, at::kFloat, {}, 8),
                 targets = check::adapted(0, at::kFloat, {"q_proj"});
  Transformer full = check::tiny_model();
  Trainer other_alpha(alpha.model, adapter_params(1e-3), alpha.masters),
      other_targets(targets.model, adapter_params(1e-3), targets.masters),
      no_adapter(full, adapter_params(1e-3), {});
  CHECK_THROWS(invalid_argument, "lora_alpha 7, this trainer has 8",
               other_alpha.load_state({path}));
  CHECK_THROWS(invalid_argument, "lora_target_modules", other_targets.load_state({path}));
  CHECK_THROWS(invalid_argument, "lora_rank 3, this trainer has 0", no_adapter.load_state({path}));
  trainer.load_state({path});
}

CHECK_CASE("lora: an adapter on every family's layers trains, and merges to what it was") {
  // Features that a plain Llama lacks: biases, norms on queries and keys and around blocks, capped
  // logits.
  ModelConfig config = check::tiny_model().config();
  config.qkv_bias = config.output_bias = config.mlp_bias = config.output_norms = true;
  config.qk_norm = QkNorm::per_head;
  config.final_softcap = 20;
  config.tie_word_embeddings = false;
  at::manual_seed(8);
  NamedTensors tensors;
  for (const Parameter& parameter : parameter_layout(config))
    tensors.emplace_back(parameter.name, parameter.shape.size() == 1
                                             ? at::randn(parameter.shape) * 0.1 + 1
                                             : at::randn(parameter.shape) * 0.2);
  Transformer model(config, weights_from(config, std::move(tensors)));
  const LoraParams params = resolve_lora(config, {2, 4, 0, false, {}});
  const AdapterTensors masters = new_adapter(config, params, 1);
  attach_adapter(model.weights(), config, params, masters);
  Trainer trainer(model, adapter_params(1e-2), masters);
  const double first = trainer.sft_step(examples(), Cancel()).loss;
  for (int i = 0; i < 5; ++i) trainer.sft_step(examples(), Cancel());
  CHECK(trainer.sft_step(examples(), Cancel()).loss < first);
  const Tensor adapted_logits = sequence_logits(model, check::tiny_tokens(9, 4));
  merge_adapter(model.weights(), config, {});
  CHECK_RELATIVE(sequence_logits(model, check::tiny_tokens(9, 4)), adapted_logits, 1e-4);
}
