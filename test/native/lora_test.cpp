#include <filesystem>

#include "engine/shared_model.h"
#include "generate/generator.h"
#include "golden.h"
#include "model/lora.h"
#include "model/parameters.h"
#include "ops/dispatch.h"
#include "score/scorer.h"
#include "tiny_model.h"
#include "train/trainer.h"
#include "weights/adapter.h"
#include "weights/load.h"

#include "adapted.h"
#include "check.h"  // last: a torch header above defines a CHECK of its own
#include "fast_ops.h"
#include "trainer_params.h"

using namespace cream;

namespace {

std::string golden_path(const std::string& name) {
  const char* folder = std::getenv("CREAM_GOLDEN_DIR");
  return std::string(folder != nullptr ? folder : "test/golden") + "/" + name;
}

Tokens tokens_of(const JsonValue& golden, const char* key) {
  Tokens tokens;
  for (const double id : check::numbers(check::array(golden, key)))
    tokens.push_back(static_cast<TokenId>(id));
  return tokens;
}

Tensor tensor_of(const JsonArray& values, at::IntArrayRef shape) {
  return at::tensor(at::ArrayRef<double>(check::numbers(values)), at::kFloat).view(shape);
}

// The golden adapter on its base model, in fp32.
struct Golden {
  explicit Golden(const std::string& name)
      : loaded(load_weights(golden_path("tiny-gqa-untied"), at::kFloat)),
        config(loaded.config),
        expected(check::golden("lora/" + name + "/expected.json")),
        params(resolve_lora(config, read_adapter_config(golden_path("lora/" + name)).params)),
        masters(read_adapter_tensors(golden_path("lora/" + name), adapter_layout(config, params))),
        model(config, weights_from(config, std::move(loaded.tensors))) {
    attach_adapter(model.weights(), config, params, masters);
  }
  LoadedWeights loaded;
  ModelConfig config;
  JsonValue expected;
  LoraParams params;
  AdapterTensors masters;
  Transformer model;
};

TrainerParams params_of(double learning_rate) {
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = learning_rate;
  params.optimizer.schedule = Schedule::constant;
  params.optimizer.total_steps = 100;
  params.optimizer.max_grad_norm = 0;
  return params;
}

std::vector<SftExample> examples() {
  return {{check::tiny_tokens(5, 1), check::tiny_tokens(7, 2)},
          {check::tiny_tokens(2, 3), check::tiny_tokens(1, 4)},
          {check::tiny_tokens(11, 5), check::tiny_tokens(20, 6)}};
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

struct TemporaryFolder {
  TemporaryFolder()
      : path((std::filesystem::temp_directory_path() /
              ("cream-lora-" + std::to_string(reinterpret_cast<uintptr_t>(this))))
                 .string()) {
    std::filesystem::create_directories(path);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string path;
};

}  // namespace

CHECK_CASE("lora: logits with an adapter, and merged, are PEFT's") {
  for (const char* name : {"all", "rslora"}) {
    Golden golden(name);
    const Tokens tokens = tokens_of(golden.expected, "tokens");
    const int64_t rows = static_cast<int64_t>(tokens.size());
    CHECK_CLOSE(
        sequence_logits(golden.model, tokens),
        tensor_of(check::array(golden.expected, "logits"), {rows, golden.config.vocab_size}), 1e-3);
    merge_adapter(golden.model.weights(), golden.config, {});
    CHECK(!golden.model.weights().lora && adapter_parameters(golden.model.weights()).empty());
    CHECK_CLOSE(
        sequence_logits(golden.model, tokens),
        tensor_of(check::array(golden.expected, "merged"), {rows, golden.config.vocab_size}), 1e-3);
  }
}

CHECK_CASE("lora: gradients of A and B and the adapter after AdamW steps are PEFT's") {
  for (const char* name : {"all", "rslora"}) {
    for (const bool checkpointing : {false, true}) {
      Golden golden(name);
      TrainerParams params = params_of(check::number(golden.expected, "learning_rate"));
      params.optimizer.weight_decay = check::number(golden.expected, "weight_decay");
      params.activation_checkpointing = checkpointing;
      Trainer trainer(golden.model, params, golden.masters);
      CHECK(trainer.optimizer().entries().size() ==
            adapter_parameters(golden.model.weights()).size());
      const std::vector<SftExample> batch = {
          {tokens_of(golden.expected, "prompt"), tokens_of(golden.expected, "completion")}};
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

CHECK_CASE(
    "lora: a new adapter changes nothing; A is uniform within 1/sqrt(in), and the targets leave "
    "each other alone") {
  Transformer plain = check::tiny_model(), model = check::tiny_model();
  const LoraParams params = resolve_lora(model.config(), {8, 16, 0, false, {}});
  CHECK(params.targets.size() == 7 && params.targets.front() == "q_proj" &&
        params.targets.back() == "down_proj");
  const AdapterTensors all = new_adapter(model.config(), params, 1);
  attach_adapter(model.weights(), model.config(), params, all);
  const Tokens tokens = check::tiny_tokens(20, 3);
  CHECK(at::equal(sequence_logits(model, tokens), sequence_logits(plain, tokens)));

  const Tensor a = all[0].second;  // [8, 64]
  const double bound = 1 / std::sqrt(64.0);
  CHECK(a.abs().max().item<double>() <= bound && a.abs().max().item<double>() > 0.98 * bound);
  CHECK(std::abs(a.std().item<double>() - bound / std::sqrt(3.0)) < 0.1 * bound &&
        std::abs(a.mean().item<double>()) < 0.1 * bound);
  CHECK(!at::equal(a, new_adapter(model.config(), params, 2)[0].second));
  const LoraParams fewer = resolve_lora(model.config(), {8, 16, 0, false, {"down_proj", "q_proj"}});
  CHECK((fewer.targets == std::vector<std::string>{"q_proj", "down_proj"}));
  const AdapterTensors some = new_adapter(model.config(), fewer, 1);
  CHECK(at::equal(some[0].second, a) && at::equal(some[2].second, all[12].second));
}

CHECK_CASE("lora: impossible parameters are refused by name") {
  const ModelConfig config = check::tiny_model().config();
  CHECK_THROWS(invalid_argument, "rank must be from 1", resolve_lora(config, {0, 1, 0, false, {}}));
  CHECK_THROWS(invalid_argument, "dropout", resolve_lora(config, {1, 1, 1, false, {}}));
  CHECK_THROWS(invalid_argument, "no module \"qkv_proj\"",
               resolve_lora(config, {1, 1, 0, false, {"qkv_proj"}}));
  CHECK_THROWS(invalid_argument, "\"q_proj\" is listed twice",
               resolve_lora(config, {1, 1, 0, false, {"q_proj", "q_proj"}}));
}

CHECK_CASE("lora: Phi-3's fused modules cover the joined matrices") {
  ModelConfig config = check::tiny_model().config();
  config.joined_projections = true;
  std::vector<std::string> names;
  for (const LoraModule& module : lora_modules(config)) names.push_back(module.path);
  CHECK((names == std::vector<std::string>{"self_attn.qkv_proj", "self_attn.o_proj",
                                           "mlp.gate_up_proj", "mlp.down_proj"}));
  CHECK(lora_modules(config)[0].rows == config.q_size() + 2 * config.kv_size() &&
        lora_modules(config)[2].rows == 2 * config.intermediate_size);
}

CHECK_LEVELS(
    "lora: a sampled token's log-prob is its score, bit for bit, and adapters ran on the fast "
    "kernel") {
  const uint64_t runs = ops::fast_runs(ops::Op::linear_f32);
  check::Adapted a = check::adapted(0, at::kBFloat16);
  GenerationRequest request;
  for (uint32_t i = 0; i < 5; ++i)
    request.prompts.push_back({check::tiny_tokens(2 + 3 * i, i), i, 3, 0});
  request.sampling.max_new_tokens = 17;
  request.max_num_seqs = 7;
  std::vector<GeneratedCompletion> completions;
  generate(a.model, request,
           {[&](GeneratedCompletion&& completion) { completions.push_back(std::move(completion)); },
            {},
            {}},
           Cancel());
  CHECK(completions.size() == 15);
  for (const GeneratedCompletion& completion : completions) {
    ScoringRequest scoring;
    scoring.groups.push_back(
        {request.prompts[completion.prompt_index].tokens, {completion.tokens}});
    CHECK(score(a.model, scoring, {}, Cancel()).token_logprobs == completion.logprobs);
  }
  CHECK(ops::fast_runs(ops::Op::linear_f32) > runs);
}

CHECK_CASE("lora: the fast path agrees with the plain one, and with the merged weights") {
  check::Adapted a = check::adapted(0, at::kBFloat16, {}, 4.3);
  const Tokens tokens = check::tiny_tokens(30, 9);
  const Tensor fast = sequence_logits(a.model, tokens);
  {
    const ops::ForcePlain force;
    CHECK_RELATIVE(sequence_logits(a.model, tokens), fast, 3e-2);
  }
  check::TinyShape shape;
  shape.dtype = at::kBFloat16;
  CHECK((sequence_logits(check::tiny_model(shape), tokens) - fast).norm().item<double>() >
        0.1 * fast.norm().item<double>());
  merge_adapter(a.model.weights(), a.model.config(), a.masters);
  CHECK_RELATIVE(sequence_logits(a.model, tokens), fast, 3e-2);
}

CHECK_CASE("lora: training writes the adapter and nothing else, whatever it targets") {
  for (const auto& targets :
       std::vector<std::vector<std::string>>{{}, {"v_proj"}, {"k_proj", "up_proj"}}) {
    check::Adapted a = check::adapted(0, at::kFloat, targets);
    Transformer untouched = check::tiny_model();
    Trainer trainer(a.model, params_of(1e-2), a.masters);
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
  Trainer exact_trainer(exact.model, params_of(2e-3), exact.masters),
      rounded_trainer(rounded.model, params_of(2e-3), rounded.masters);
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
    "lora: dropout keeps 1 − rate of the inputs, each mask by its name, in expectation the "
    "identity") {
  const auto mask = [](InputDropout d) { return ops::keep_mask(d, 300, 101, at::kFloat); };
  for (const double rate : {0.1, 0.5, 0.9}) {
    const Tensor kept = mask({rate, 1, 2, 3, 4});
    const double n = 300 * 101, spread = std::sqrt(rate * (1 - rate) / n);
    CHECK(std::abs(kept.mean().item<double>() - (1 - rate)) < 5 * spread);
    CHECK(at::equal(kept, mask({rate, 1, 2, 3, 4})) &&
          ((kept == 0) | (kept == 1)).all().item<bool>());
    // Another seed, step, micro-batch or site gives an independent mask.
    const double agree = rate * rate + (1 - rate) * (1 - rate);
    for (const InputDropout other : {InputDropout{rate, 9, 2, 3, 4},
                                     {rate, 1, 9, 3, 4},
                                     {rate, 1, 2, 9, 4},
                                     {rate, 1, 2, 3, 9},
                                     {rate, uint64_t{1} << 32 | 1, 2, 3, 4}})
      CHECK(std::abs((kept == mask(other)).to(at::kFloat).mean().item<double>() - agree) <
            5 * std::sqrt(agree * (1 - agree) / n));
  }
  // The mean over many masks of the product with dropout is the product without.
  Linear linear{at::zeros({6, 40})};
  LinearAdapter adapter;
  adapter.down.weight = at::randn({3, 40}).set_requires_grad(true);
  adapter.up.weight = at::randn({6, 3});
  adapter.scale = 0.5;
  linear.adapters.push_back(adapter);
  const Tensor x = at::randn({4, 40}), whole = ops::linear(x, linear).detach();
  Tensor sum = at::zeros({4, 6});
  for (uint32_t step = 0; step < 4000; ++step) {
    linear.adapters[0].dropout = {0.3, 7, step, 0, 0};
    sum += ops::linear(x, linear).detach();
  }
  CHECK_RELATIVE(sum / 4000, whole, 0.05);
}

CHECK_CASE(
    "lora: with dropout, checkpointing recomputes the same masks and a resumed run goes on "
    "exactly") {
  const auto trained = [](bool checkpointing, int steps, const std::string& from,
                          const std::string& to, uint64_t seed = 11) {
    check::Adapted a = check::adapted(0.4);
    TrainerParams params = params_of(1e-3);
    params.micro_batch_tokens = 24;
    params.activation_checkpointing = checkpointing;
    params.dropout_seed = seed;
    Trainer trainer(a.model, params, a.masters);
    if (!from.empty()) trainer.load_state(from);
    for (int i = 0; i < steps; ++i) trainer.sft_step(examples(), Cancel());
    if (!to.empty()) trainer.save_state(to);
    return moments(trainer);
  };
  const TemporaryFolder folder;
  const std::string half = folder.path + "/half";
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
  const std::string path = folder.path + "/state";
  check::Adapted a = check::adapted();
  Trainer trainer(a.model, params_of(1e-3), a.masters);
  trainer.save_state(path);
  check::Adapted alpha = check::adapted(0, at::kFloat, {}, 8),
                 targets = check::adapted(0, at::kFloat, {"q_proj"});
  Transformer full = check::tiny_model();
  Trainer other_alpha(alpha.model, params_of(1e-3), alpha.masters),
      other_targets(targets.model, params_of(1e-3), targets.masters),
      no_adapter(full, params_of(1e-3), {});
  CHECK_THROWS(invalid_argument, "lora_alpha 7, this trainer has 8", other_alpha.load_state(path));
  CHECK_THROWS(invalid_argument, "lora_target_modules", other_targets.load_state(path));
  CHECK_THROWS(invalid_argument, "lora_rank 3, this trainer has 0", no_adapter.load_state(path));
  trainer.load_state(path);
}

CHECK_CASE("lora: snapshots share the base, count it once, and copy the adapter alone") {
  const uint64_t before = live_weight_bytes();
  {
    const auto base = std::make_shared<SharedModel>(check::tiny_model());
    const uint64_t base_bytes = live_weight_bytes() - before;
    const LoraParams params = resolve_lora(base->transformer.config(), {3, 6, 0, false, {}});
    const auto first =
        base->with_adapter(params, new_adapter(base->transformer.config(), params, 1));
    const uint64_t adapter_bytes = live_weight_bytes() - before - base_bytes;
    CHECK(adapter_bytes > 0 && adapter_bytes < base_bytes / 2);
    const auto second = first->copy_adapter();
    CHECK(live_weight_bytes() - before == base_bytes + 2 * adapter_bytes);
    const auto storage = [](const auto& model) {
      return model->transformer.weights().layers[1].qkv.weight.const_data_ptr();
    };
    const auto down = [](const auto& model) {
      return model->transformer.weights().layers[1].qkv.adapters[0].down.weight.const_data_ptr();
    };
    CHECK(storage(first) == storage(base) && storage(second) == storage(base) &&
          down(first) != down(second));
    CHECK(base->shares_base() && !first->without_adapter()->lora());
    const auto apart = second->copy();
    CHECK(storage(apart) != storage(base) && !apart->shares_base() && apart->lora());
    CHECK(at::equal(sequence_logits(apart->transformer, check::tiny_tokens(5, 1)),
                    sequence_logits(first->transformer, check::tiny_tokens(5, 1))));
  }
  CHECK(live_weight_bytes() == before);
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
  Trainer trainer(model, params_of(1e-2), masters);
  const double first = trainer.sft_step(examples(), Cancel()).loss;
  for (int i = 0; i < 5; ++i) trainer.sft_step(examples(), Cancel());
  CHECK(trainer.sft_step(examples(), Cancel()).loss < first);
  const Tensor adapted_logits = sequence_logits(model, check::tiny_tokens(9, 4));
  merge_adapter(model.weights(), config, {});
  CHECK_RELATIVE(sequence_logits(model, check::tiny_tokens(9, 4)), adapted_logits, 1e-4);
}
