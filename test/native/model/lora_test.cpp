#include "model/lora.h"

#include "adapted.h"
#include "generate/generator.h"
#include "lora_golden.h"
#include "ops/dispatch.h"
#include "score/scorer.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own
#include "fast_ops.h"

using namespace cream;
using namespace lora_golden;

CHECK_CASE("lora: logits with an adapter, and merged, are PEFT's") {
  for (const char* name : {"all", "rslora"}) {
    Golden golden(name);
    const Tokens tokens = check::tokens(golden.expected, "tokens");
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
