#include "check.h"
#include "model/checked_attention.h"
#include "model/kv_cache.h"
#include "model/packing.h"
#include "tiny_model.h"

using namespace cream;

// Hidden states of one sequence alone: [tokens, hidden].
static Tensor alone(const Transformer& model, const Tokens& tokens) {
  const c10::InferenceMode inference;
  PackedBatch batch;
  batch.add_prompt(tokens);
  PackedAttention attention(batch.segments());
  return model.forward(batch.as_token_batch(), attention);
}

// The same decoder in plain ATen for one sequence, in Hugging Face's order of operations.
static Tensor plain_forward(Transformer& model, const Tokens& tokens) {
  const ModelConfig& c = model.config();
  Weights& w = model.weights();
  const int64_t n = static_cast<int64_t>(tokens.size()), half = c.head_dim / 2;
  const auto norm = [&](const Tensor& x, const Tensor& weight) {
    return x * (x.pow(2).mean(-1, true) + c.rms_norm_eps).rsqrt() * weight;
  };
  Tensor angles = at::empty({n, c.head_dim});
  for (int64_t p = 0; p < n; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      angles[p][i] = angles[p][i + half] =
          static_cast<double>(p) * std::pow(c.rope.theta, -2.0 * i / c.head_dim);
    }
  }
  const auto rotate = [&](const Tensor& x) {  // [n, heads, d]
    const Tensor rotated = at::cat({-x.slice(-1, half), x.slice(-1, 0, half)}, -1);
    return x * angles.cos().unsqueeze(1) + rotated * angles.sin().unsqueeze(1);
  };
  const Tensor future = at::ones({n, n}, at::kBool).triu(1);
  Tensor x =
      w.embedding.weight.index_select(0, at::tensor(at::ArrayRef<TokenId>(tokens), at::kLong));
  for (LayerWeights& layer : w.layers) {
    const Tensor qkv = norm(x, layer.input_norm).matmul(layer.qkv.weight.t());
    const Tensor q = rotate(qkv.slice(1, 0, c.q_size()).reshape({n, c.num_heads, c.head_dim}));
    const Tensor k = rotate(qkv.slice(1, c.q_size(), c.q_size() + c.kv_size())
                                .reshape({n, c.num_kv_heads, c.head_dim}));
    const Tensor v =
        qkv.slice(1, c.q_size() + c.kv_size()).reshape({n, c.num_kv_heads, c.head_dim});
    const int64_t group = c.num_heads / c.num_kv_heads;
    const auto spread = [&](const Tensor& t) {
      return t.repeat_interleave(group, 1).transpose(0, 1);
    };  // [heads, n, d]
    const Tensor scores = q.transpose(0, 1).matmul(spread(k).transpose(1, 2)) /
                          std::sqrt(static_cast<double>(c.head_dim));
    const Tensor weights = scores.masked_fill(future, -INFINITY).softmax(-1);
    x = x + weights.matmul(spread(v))
                .transpose(0, 1)
                .reshape({n, c.q_size()})
                .matmul(layer.out.weight.t());
    const Tensor both = norm(x, layer.post_norm).matmul(layer.gate_up.weight.t());
    const Tensor gate = both.slice(1, 0, c.intermediate_size),
                 up = both.slice(1, c.intermediate_size);
    x = x + (gate * gate.sigmoid() * up).matmul(layer.down.weight.t());
  }
  return norm(x, w.final_norm);
}

CHECK_CASE("model: forward is the plain decoder, grouped-query and multi-head") {
  for (const auto& shape : check::tiny_shapes()) {
    Transformer model = check::tiny_model(shape);
    const Tokens tokens = check::tiny_tokens(17, 3);
    CHECK_CLOSE(alone(model, tokens), plain_forward(model, tokens), 2e-5);
  }
}

CHECK_CASE("model: layers carry gradients to every parameter") {
  Transformer model = check::tiny_model();
  for (auto& [name, parameter] : model.weights().parameters(model.config()))
    parameter->set_requires_grad(true);
  model.weights().unpack();
  PackedBatch batch;
  const int32_t prompt = batch.add_prompt(check::tiny_tokens(5, 1));
  batch.add_completion(prompt, check::tiny_tokens(4, 2));
  batch.add_completion(prompt, check::tiny_tokens(3, 3));
  const RotaryRows rotary = model.rotary(batch.as_token_batch().positions);
  PackedAttention attention(batch.segments());
  Tensor x = model.embed(batch.as_token_batch().tokens);
  for (int64_t i = 0; i < model.config().num_layers; ++i) x = model.layer(i, x, rotary, attention);
  model.final_norm(x).square().sum().backward();
  for (auto& [name, parameter] : model.weights().parameters(model.config())) {
    if (!parameter->grad().defined() || parameter->grad().abs().max().item<float>() == 0)
      throw check::Failure(name + " has no gradient");
  }
}

CHECK_CASE("model: a pass is left at the layer whose check throws") {
  const Transformer model = check::tiny_model();
  PackedBatch batch;
  batch.add_prompt(check::tiny_tokens(9, 1));
  PackedAttention packed(batch.segments());
  for (int64_t last = 1; last <= model.config().num_layers; ++last) {
    Cancel cancel;
    int64_t layers = 0;
    CheckedAttention attention(packed, [&] {
      if (++layers == last) cancel.request();
      cancel.check();
    });
    CHECK_THROWS(aborted, "aborted", model.forward(batch.as_token_batch(), attention));
    CHECK(layers == last);
  }
  CheckedAttention attention(packed, [] {});
  CHECK(at::equal(model.forward(batch.as_token_batch(), attention),
                  model.forward(batch.as_token_batch(), packed)));
}

CHECK_CASE("model: completions packed behind a shared prompt equal separate sequences") {
  for (const auto& shape : check::tiny_shapes()) {
    const Transformer model = check::tiny_model(shape);
    const c10::InferenceMode inference;
    PackedBatch batch;
    std::vector<Tokens> whole;
    for (uint64_t g = 0; g < 3; ++g) {
      const Tokens prompt = check::tiny_tokens(3 + 4 * g, 10 + g);
      const int32_t segment = batch.add_prompt(prompt);
      for (uint64_t i = 0; i < 3; ++i) {
        const Tokens completion = check::tiny_tokens(
            1 + 5 * i, 20 + 3 * g + i);  // the first completion has one token and no row of its own
        batch.add_completion(segment, completion);
        whole.push_back(check::joined(prompt, completion));
      }
    }
    PackedAttention attention(batch.segments());
    const Tensor predicted =
        model.forward(batch.as_token_batch(), attention).index_select(0, batch.prediction_rows());
    const auto& offsets = batch.prediction_offsets();
    CHECK(batch.completions() == 9 && batch.predictions() == offsets.back());
    for (size_t i = 0; i < whole.size(); ++i) {
      const int64_t length = offsets[i + 1] - offsets[i],
                    total = static_cast<int64_t>(whole[i].size());
      const Tensor separate = alone(model, whole[i]).slice(0, total - length - 1, total - 1);
      CHECK_CLOSE(predicted.slice(0, offsets[i], offsets[i + 1]), separate, 1e-5);
      const Tensor targets =
          at::tensor(at::ArrayRef<TokenId>(whole[i]), at::kLong).slice(0, total - length);
      CHECK(batch.targets().slice(0, offsets[i], offsets[i + 1]).equal(targets));
    }
  }
}

CHECK_CASE("model: a packed batch has one row a token read, and no more") {
  PackedBatch batch;
  const Tokens prompt{5, 6, 7}, one{8}, three{9, 10, 11};
  const int32_t segment = batch.add_prompt(prompt);
  batch.add_completion(segment, one);
  batch.add_completion(segment, three);
  CHECK(batch.rows() == packed_rows(prompt, {&one, &three}) && batch.rows() == 5);
  CHECK(batch.as_token_batch().tokens.equal(at::tensor({5, 6, 7, 9, 10}, at::kLong)));
  CHECK(batch.as_token_batch().positions.equal(at::tensor({0, 1, 2, 3, 4}, at::kLong)));
  CHECK(batch.prediction_rows().equal(at::tensor({2, 2, 3, 4}, at::kLong)));
  CHECK(batch.targets().equal(at::tensor({8, 9, 10, 11}, at::kLong)));
  CHECK(batch.segments().size() == 2 && batch.segments()[1].start == 3 &&
        batch.segments()[1].length == 2 && batch.segments()[1].prefix == 0);
}

CHECK_CASE("model: a cache block keeps its rows when it grows") {
  const ModelConfig config = check::tiny_model().config();
  KvBlock block(config, at::kFloat, 2);
  const Tensor keys = at::randn({3, config.num_kv_heads, config.head_dim}),
               values = at::randn_like(keys);
  block.write(1, 0, keys.slice(0, 0, 2), values.slice(0, 0, 2));
  block.length = 2;
  block.grow(5);
  CHECK(block.capacity() == 5);
  block.write_row(1, 2, keys[2].data_ptr(), values[2].data_ptr());
  CHECK(block.keys(1).slice(1, 0, 3).transpose(0, 1).equal(keys));
  CHECK(block.values(1).slice(1, 0, 3).transpose(0, 1).equal(values));
  CHECK(static_cast<const float*>(block.keys_data(1))[0] == keys[0][0][0].item<float>());
}

CHECK_CASE(
    "model: a cache block transposes full groups of keys once the next position is written") {
  const ModelConfig config = check::tiny_model().config();
  const int64_t heads = config.num_kv_heads, d = config.head_dim;
  KvBlock block(config, at::kFloat, 40);
  const bool groups = ops::groups_keys(config.num_heads, heads, d, at::kFloat);
  const Tensor keys = at::randn({40, heads, d}), values = at::randn_like(keys);
  block.write(0, 0, keys.slice(0, 0, 20), values.slice(0, 0, 20));
  CHECK(block.grouped(0) == (groups ? 16 : 0) && block.grouped(1) == 0);
  for (int64_t at = 20; at < 32; ++at)
    block.write_row(0, at, keys[at].data_ptr(), values[at].data_ptr());
  CHECK(block.grouped(0) == (groups ? 16 : 0));  // a step that failed could write 31 again
  block.write_row(0, 31, keys[31].data_ptr(), values[31].data_ptr());
  block.write_row(0, 32, keys[32].data_ptr(), values[32].data_ptr());
  CHECK(block.grouped(0) == (groups ? 32 : 0));
  block.length = 33;
  block.grow(50);
  const Tensor q = at::randn({1, config.num_heads, d});
  const Tensor k = keys.transpose(0, 1).contiguous(), v = values.transpose(0, 1).contiguous();
  DecodeSource plain, own;
  plain.own_keys = k.data_ptr(), plain.own_values = v.data_ptr();
  plain.own_length = 33, plain.own_capacity = 40;
  own.own_keys = block.keys_data(0), own.own_values = block.values_data(0);
  own.own_length = 33, own.own_capacity = block.capacity(), own.own_grouped = block.grouped(0);
  CHECK(ops::decode_attention(q, {own}, heads).equal(ops::decode_attention(q, {plain}, heads)));
}

CHECK_CASE("model: parameters are named once, a tied head is the embedding") {
  Transformer tied = check::tiny_model({2, true}), untied = check::tiny_model({2, false});
  const auto names = tied.weights().parameters(tied.config());
  CHECK(names.size() == 2 + 6 * 3 && names.front().first == "embedding" &&
        names.back().first == "final_norm");
  CHECK(names[1].first == "layers.0.input_norm" && names[6].first == "layers.0.down");
  CHECK(tied.weights().head.weight.data_ptr() == tied.weights().embedding.weight.data_ptr());
  CHECK(untied.weights().parameters(untied.config()).back().first == "head");
}

CHECK_CASE("model: weights that the config does not describe are refused by name") {
  const auto tensors = [](Transformer& model) {
    std::vector<std::pair<std::string, Tensor>> all;
    for (auto& [name, tensor] : model.weights().parameters(model.config()))
      all.emplace_back(name, *tensor);
    return all;
  };
  Transformer model = check::tiny_model({2, false});
  auto missing = tensors(model), reshaped = tensors(model), extra = tensors(model);
  missing.erase(missing.begin() + 2);
  reshaped[2].second = reshaped[2].second.t();
  extra.emplace_back("layers.0.bias", at::zeros({1}));
  CHECK_THROWS(internal, "layers.0.qkv is missing",
               weights_from(model.config(), std::move(missing)));
  CHECK_THROWS(internal, "layers.0.qkv has shape [64, 128]",
               weights_from(model.config(), std::move(reshaped)));
  CHECK_THROWS(internal, "layers.0.bias is not part",
               weights_from(model.config(), std::move(extra)));
}

CHECK_CASE("transformer: a sequence has its own bits only where the kernels run") {
  ModelConfig config = check::tiny_model().config();
  config.num_heads = 8, config.num_kv_heads = 2, config.head_dim = 64, config.hidden_size = 512,
  config.intermediate_size = 1024, config.vocab_size = 4096;
  const at::Device cpu("cpu"), gpu("cuda:0");
  const auto with = [&](int64_t ModelConfig::* field, int64_t value) {
    ModelConfig other = config;
    other.*field = value;
    return other;
  };
  const bool kernels = ops::level() != ops::Level::plain;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    CHECK(batch_invariant(config, dtype, cpu) == kernels);
    CHECK(batch_invariant(with(&ModelConfig::head_dim, 256), dtype, cpu) == kernels);
    CHECK(batch_invariant(with(&ModelConfig::vocab_size, 4099), dtype, cpu) == kernels);
    for (const int64_t head_dim : {24, 272})
      CHECK(!batch_invariant(with(&ModelConfig::head_dim, head_dim), dtype, cpu));
    CHECK(!batch_invariant(with(&ModelConfig::num_heads, 2 * 97), dtype, cpu));
    const ops::ForcePlain plain;
    CHECK(!batch_invariant(config, dtype, cpu));
  }
  CHECK(batch_invariant(config, at::kBFloat16, gpu));
  CHECK(batch_invariant(with(&ModelConfig::head_dim, 24), at::kBFloat16, gpu));
  CHECK(!batch_invariant(config, at::kFloat, gpu));
  CHECK(!batch_invariant(with(&ModelConfig::head_dim, 256), at::kBFloat16, gpu));
  CHECK(!batch_invariant(with(&ModelConfig::vocab_size, 4099), at::kBFloat16, gpu));
}
