#include "engine/plan.h"

#include <algorithm>

#include "generate/paged_attention.h"
#include "model/lora.h"
#include "model/parameters.h"
#include "train/trainer.h"

namespace cream {
namespace {

// The CUDA context with our kernels, cuBLAS's workspace, and the allocator's fragmentation, assumed
// to be 1/32 of the device.
constexpr uint64_t kContextBytes = uint64_t{700} << 20, kWorkspaceBytes = uint64_t{64} << 20;
constexpr int64_t kReserveShare = 32;
constexpr int64_t kMostSeqs = 512;  // that `auto` decodes together

using Layout = std::vector<std::pair<std::string, std::vector<int64_t>>>;

uint64_t numbers(const Layout& layout) {
  uint64_t sum = 0;
  for (const auto& [name, shape] : layout) {
    uint64_t n = 1;
    for (const int64_t size : shape) n *= static_cast<uint64_t>(size);
    sum += n;
  }
  return sum;
}

// How a training stores what it keeps, on one rank or on several.
struct TrainChoice {
  OptimizerForms forms;
  bool shard_weights = false;
};

struct Sizes {
  const PlanRequest& request;
  int64_t element;  // bytes per value of the compute dtype
  Layout base, adapter;
  LayerBytes layer;

  const ModelConfig& config() const { return request.config; }
  uint64_t times(int64_t rows, int64_t bytes) const {
    return static_cast<uint64_t>(rows) * static_cast<uint64_t>(bytes);
  }
};

Sizes sizes_of(const PlanRequest& request) {
  const ModelConfig& config = request.config;
  Sizes sizes{request,
              request.dtype == DType::bfloat16 ? 2 : 4,
              {},
              {},
              layer_bytes(config, request.dtype, request.lora)};
  for (const Parameter& parameter : parameter_layout(config))
    sizes.base.emplace_back(parameter.name, parameter.shape);
  if (request.lora) sizes.adapter = adapter_layout(config, resolve_lora(config, *request.lora));
  return sizes;
}

std::vector<PlanPart> unplanned_parts(uint64_t device_bytes) {
  return {{"context, workspace", kContextBytes + kWorkspaceBytes, true},
          {"reserve", device_bytes / kReserveShare, true}};
}

// Sums the parts and compares the sum with the device's memory.
Plan& add_up(Plan& plan, const PlanRequest& request) {
  for (PlanPart& part : unplanned_parts(request.device_bytes))
    plan.parts.push_back(std::move(part));
  plan.bytes = 0;
  for (const PlanPart& part : plan.parts) plan.bytes += part.bytes;
  plan.short_bytes = plan.bytes > request.device_bytes ? plan.bytes - request.device_bytes : 0;
  return plan;
}

// θ_t and the other models: adapters over one base, or full models. An adapter also keeps its fp32
// values.
Plan with_models(const Sizes& sizes) {
  const auto& request = sizes.request;
  Plan plan;
  const uint64_t model = numbers(sizes.base) * static_cast<uint64_t>(sizes.element),
                 others = static_cast<uint64_t>(request.other_models);
  const uint64_t adapter =
      numbers(sizes.adapter) * static_cast<uint64_t>(sizes.element + (sizes.element == 2 ? 4 : 0));
  plan.parts.push_back({"weights", model});
  if (request.lora)
    plan.parts.push_back({"adapters", adapter * (1 + others)});
  else if (others > 0)
    plan.parts.push_back({"other models", model * others});
  return plan;
}

// Logits of a chunk in fp32 and their gradient in the compute dtype; the selected hidden states,
// their norm and its gradient.
uint64_t head_bytes(const Sizes& sizes, int64_t rows, int64_t predictions, bool gradient) {
  const int64_t vocab = sizes.config().head_rows();
  return sizes.times(rows, vocab * (4 + (gradient ? sizes.element : 0))) +
         sizes.times(predictions, (gradient ? 4 : 2) * sizes.config().hidden_size * sizes.element);
}

// Whole gradients while several ranks share a full training: those of one layer as they are
// computed, those of the layer before as they are sent in fp32, with the own shard of their sum;
// and those of the embedding or the head, which are final last, or are sent first.
uint64_t exchange_bytes(const Sizes& sizes, const OptimizerForms& forms) {
  const auto ranks = static_cast<uint64_t>(sizes.request.ranks);
  uint64_t layer = 0, sent = 0, vocabulary = 0;
  for (const auto& [name, shape] : sizes.base) {
    const uint64_t n = numbers({{name, shape}});
    if (name == "embedding" || name == "head") vocabulary = std::max(vocabulary, n);
    if (!name.starts_with("layers.0.")) continue;
    layer += optimizer_bytes(name, shape, sizes.element == 2, forms).gradients;
    sent += 4 * n;
  }
  const uint64_t under_way = sent + sent / ranks;
  // A tied embedding is final after the last layer; a separate head is sent before the first.
  return layer + (sizes.config().tie_word_embeddings
                      ? 4 * vocabulary + under_way
                      : std::max(4 * vocabulary + 4 * vocabulary / ranks, under_way));
}

// Whole weights in memory while they are sharded: those of a part of the pass and of the next one.
// The largest are two layers, or a layer beside the embedding or the head.
uint64_t gathered_bytes(const Sizes& sizes) {
  uint64_t layer = 0, vocabulary = 0;
  for (const auto& [name, shape] : sizes.base) {
    const uint64_t n = numbers({{name, shape}});
    if (name == "embedding" || name == "head") vocabulary = std::max(vocabulary, n);
    if (name.starts_with("layers.0.")) layer += n;
  }
  return (layer + std::max(layer, vocabulary)) * static_cast<uint64_t>(sizes.element);
}

Plan train_plan(const Sizes& sizes, const TrainChoice& choice, bool checkpointing,
                int64_t micro_batch) {
  const auto& request = sizes.request;
  const OptimizerForms& forms = choice.forms;
  Plan plan = with_models(sizes);
  plan.forms = forms;
  plan.activation_checkpointing = checkpointing;
  plan.shard_weights = choice.shard_weights;
  if (choice.shard_weights) {
    plan.parts.front().bytes /= static_cast<uint64_t>(request.ranks);
    plan.parts.push_back({"gathered weights", gathered_bytes(sizes)});
  }
  plan.micro_batch_tokens = micro_batch;
  // A pair is never cut, so a micro-batch has at least the longest pair's rows.
  const int64_t rows = std::max(micro_batch, request.prompt_tokens + 2 * request.new_tokens);
  plan.head_chunk_tokens = std::min(device_head_chunk_rows(rows), rows);

  OptimizerBytes optimizer;
  uint64_t trained = 0;
  for (const auto& [name, shape] : request.lora ? sizes.adapter : sizes.base) {
    const OptimizerBytes one = optimizer_bytes(name, shape, sizes.element == 2, forms);
    trained += numbers({{name, shape}});
    optimizer.masters += request.lora ? 0 : one.masters;  // an adapter's masters are in "adapters"
    optimizer.states += one.states;
    optimizer.gradients += one.gradients;
  }
  // An adapter's states and gradients are not sharded. Shards of gradients are in fp32.
  const auto ranks = static_cast<uint64_t>(request.lora ? 1 : request.ranks);
  plan.parts.push_back({"master weights", optimizer.masters / ranks});
  plan.parts.push_back({"optimizer states", optimizer.states / ranks});
  plan.parts.push_back({"gradients", ranks > 1 ? 4 * trained / ranks : optimizer.gradients});
  if (ranks > 1)
    plan.parts.push_back({"exchange", exchange_bytes(sizes, forms)});
  else if (request.ranks > 1)
    plan.parts.push_back({"exchange", 4 * std::min(kBucketElements, trained)});

  const int64_t hidden = sizes.config().hidden_size * sizes.element,
                layers = sizes.config().num_layers;
  const uint64_t kept = sizes.times(rows, layers * (checkpointing ? hidden : sizes.layer.kept));
  // With checkpointing, memory holds one layer's activations plus every layer's input; without it,
  // `kept` includes the layer already.
  const uint64_t layer = sizes.times(
      rows, checkpointing ? std::max(sizes.layer.forward, sizes.layer.kept + sizes.layer.backward)
                          : sizes.layer.backward);
  plan.parts.push_back(
      {"activations",
       kept + std::max(layer, head_bytes(sizes, plan.head_chunk_tokens, rows, true))});
  return add_up(plan, request);
}

// Optimizer forms and shards to try, from the fastest to the smallest. Sharding the weights costs
// traffic but, unlike inexact states, no accuracy.
std::vector<TrainChoice> choices_to_try(const PlanRequest& request) {
  std::vector<OptimizerForms> forms{{}};
  if (request.forms)
    forms = {*request.forms};
  else if (!request.lora)
    forms = {{}, {true, false, false}, {true, true, false}, {true, true, true}};
  std::vector<bool> shards{false};
  if (request.ranks > 1 && !request.lora)
    shards = request.shard_weights ? std::vector<bool>{*request.shard_weights}
                                   : std::vector<bool>{false, true};
  std::vector<TrainChoice> all;
  for (const OptimizerForms& form : forms)
    for (const bool shard : shards) all.push_back({form, shard});
  return all;
}

// The choices up to the user's bound, which comes first; in descending order.
std::vector<int64_t> up_to(const std::optional<int64_t>& most, std::vector<int64_t> choices) {
  if (!most) return choices;
  std::erase_if(choices, [&](int64_t choice) { return choice >= *most; });
  choices.insert(choices.begin(), *most);
  return choices;
}

Plan plan_training(const Sizes& sizes) {
  const PlanRequest& request = sizes.request;
  const std::vector<int64_t> bounds = request.micro_batch_tokens
                                          ? std::vector<int64_t>{*request.micro_batch_tokens}
                                          : std::vector<int64_t>{8192, 4096, 2048, 1024};
  const std::vector<bool> checkpointing_choices =
      request.activation_checkpointing ? std::vector<bool>{*request.activation_checkpointing}
                                       : std::vector<bool>{false, true};
  Plan plan;
  // Recomputing layers is preferred to inexact optimizer states.
  for (const TrainChoice& choice : choices_to_try(request))
    for (const bool checkpointing : checkpointing_choices)
      for (const int64_t bound : bounds)
        if ((plan = train_plan(sizes, choice, checkpointing, bound)).fits()) return plan;
  return plan;
}

Plan score_plan(const Sizes& sizes, int64_t rows, bool offload) {
  Plan plan = with_models(sizes);
  plan.offload = offload;
  if (offload) plan.parts.resize(1);  // the other models are elsewhere
  plan.max_num_batched_tokens = rows;
  plan.head_chunk_tokens = std::min(kHeadChunkRows, rows);
  const uint64_t head = head_bytes(sizes, plan.head_chunk_tokens, rows, false);
  plan.parts.push_back({"activations", std::max(sizes.times(rows, sizes.layer.forward), head)});
  return add_up(plan, sizes.request);
}

// Models with weights of their own can take turns on the device; adapters share one base.
Plan plan_scoring(const Sizes& sizes) {
  const bool others = sizes.request.other_models > 0 && !sizes.request.lora;
  Plan plan;
  for (const bool offload : others ? std::vector<bool>{false, true} : std::vector<bool>{false})
    for (const int64_t rows :
         up_to(sizes.request.max_num_batched_tokens, {16384, 8192, 4096, 2048, 1024}))
      if ((plan = score_plan(sizes, rows, offload)).fits()) return plan;
  return plan;
}

Plan sample_plan(const Sizes& sizes, int64_t num_seqs, int64_t prefill) {
  const PlanRequest& request = sizes.request;
  const ModelConfig& config = sizes.config();
  Plan plan = with_models(sizes);
  plan.max_num_seqs = num_seqs;
  plan.head_chunk_tokens = num_seqs;
  plan.prefill_tokens = prefill;
  // The sequences of a prompt share its full pages; later pages belong to one sequence each. One
  // page more is needed for the partial page of the prompt whose sequences are entering, which they
  // copy.
  const int64_t shared = request.prompt_tokens / page_size;
  const int64_t own = pages_of(request.prompt_tokens - shared * page_size + request.new_tokens);
  const int64_t prompts = (num_seqs + request.samples - 1) / request.samples;
  plan.kv_pages = num_seqs * own + prompts * shared + 1;
  const uint64_t page =
      static_cast<uint64_t>(2 * config.num_layers * config.kv_size() * page_size * sizes.element);
  plan.parts.push_back({"KV cache", page * static_cast<uint64_t>(plan.kv_pages)});
  // 2 * num_seqs covers the logits and the sampler's buffers, which are smaller than the logits.
  const uint64_t step =
      head_bytes(sizes, 2 * num_seqs, num_seqs, false) +
      sizes.times(num_seqs, sizes.layer.forward) +
      decode_buffer_bytes(config, num_seqs, request.prompt_tokens + request.new_tokens);
  // A prefill pass also holds the keys and values of the cached prefix.
  const int64_t past = std::max<int64_t>(0, request.prompt_tokens - prefill);
  plan.parts.push_back(
      {"activations", std::max(step, sizes.times(prefill, sizes.layer.forward) +
                                         sizes.times(past, 2 * config.kv_size() * sizes.element))});
  return add_up(plan, request);
}

Plan plan_sampling(const Sizes& sizes) {
  Plan plan;
  for (const int64_t num_seqs :
       up_to(sizes.request.max_num_seqs,
             {kMostSeqs, 448, 384, 320, 256, 192, 128, 96, 64, 48, 32, 16, 8, 4, 2, 1}))
    for (const int64_t prefill : {4096, 1024})
      if ((plan = sample_plan(sizes, num_seqs, prefill)).fits()) return plan;
  return plan;
}

// Values per token that an adapter's modules keep for the backward pass (the products with A) and
// hold in passing: with dropout, one module at a time also holds its input's mask and the masked
// input.
struct AdapterValues {
  int64_t kept = 0, passing = 0;
};
AdapterValues adapter_values(const ModelConfig& config, const LoraParams& params) {
  const LoraParams resolved = resolve_lora(config, params);
  AdapterValues values;
  for (const LoraModule& module : lora_modules(config)) {
    if (std::find(resolved.targets.begin(), resolved.targets.end(), module.name) ==
        resolved.targets.end())
      continue;
    values.kept += resolved.rank;
    if (resolved.dropout > 0) values.passing = std::max(values.passing, 2 * module.in);
  }
  return values;
}

}  // namespace

LayerBytes layer_bytes(const ModelConfig& c, DType dtype, const std::optional<LoraParams>& lora) {
  const int64_t h = c.hidden_size;
  const int64_t i = c.intermediate_size;
  const int64_t q = c.q_size();
  const int64_t qkv = c.q_size() + 2 * c.kv_size();
  const int64_t rotary = c.q_size() + c.kv_size();
  const int64_t element = dtype == DType::bfloat16 ? 2 : 4;
  // 4h: the layer's input, the input of the MLP block and the norms of both; q, k, v; the attention
  // output; gate, up and their product.
  int64_t kept = 4 * h + qkv + q + 3 * i;
  if (c.qk_norm != QkNorm::none) kept += 2 * rotary;  // q and k before and after their norm
  if (c.output_norms) kept += 2 * h;
  const AdapterValues adapter = lora ? adapter_values(c, *lora) : AdapterValues{};
  kept += adapter.kept;
  // Tensors alive in layer() at the last GEMM.
  const int64_t forward = 3 * h + 2 * qkv + 3 * i + adapter.passing;
  const int64_t backward = 2 * h + std::max(3 * i, 2 * qkv + q) + adapter.passing;
  return {kept * element, forward * element, backward * element};
}

uint64_t unplanned_bytes(uint64_t device_bytes) {
  uint64_t bytes = 0;
  for (const PlanPart& part : unplanned_parts(device_bytes)) bytes += part.bytes;
  return bytes;
}

Plan plan_memory(const PlanRequest& request) {
  const Sizes sizes = sizes_of(request);
  switch (request.stage) {
    case PlanStage::sample:
      return plan_sampling(sizes);
    case PlanStage::score:
      return plan_scoring(sizes);
    case PlanStage::train:
      return plan_training(sizes);
  }
  return {};
}

}  // namespace cream
