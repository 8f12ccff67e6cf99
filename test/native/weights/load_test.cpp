// Model files: our files read back as written, and files of other programs read correctly.
#include <cstdlib>
#include <filesystem>
#include <map>

#include "check.h"
#include "golden.h"
#include "model_files.h"
#include "support/file.h"
#include "support/json.h"
#include "weights/dequantize.h"
#include "weights/load.h"

using namespace cream;
using namespace model_files;

namespace {

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

Tensor converted(const ElementType& type, const std::string& bytes, at::ScalarType dtype) {
  const int64_t elements = static_cast<int64_t>(bytes.size()) / type.bytes * type.block;
  Tensor out = at::empty({elements}, at::TensorOptions().dtype(dtype));
  convert(type, reinterpret_cast<const uint8_t*>(bytes.data()), out.mutable_data_ptr(), dtype,
          elements);
  return out;
}

const Tensor& named(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [key, tensor] : tensors)
    if (key == name) return tensor;
  throw std::runtime_error("no tensor " + name);
}

LoadedWeights tiny_model(at::ScalarType dtype = at::kFloat) {
  const TemporaryFolder folder;
  return load_weights(folder.write("tiny.gguf", tiny_gguf().build()), dtype);
}

void check_same(const NamedTensors& a, const NamedTensors& b) {
  CHECK(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].first == b[i].first);
    CHECK(a[i].second.scalar_type() == b[i].second.scalar_type());
    CHECK(at::equal(a[i].second, b[i].second));
  }
}

}  // namespace

CHECK_CASE("weights: blocks of every GGUF type equal the gguf package's floats, bit for bit") {
  const JsonValue golden = check::golden("gguf_blocks.json");
  size_t types = 0;
  for (const JsonMember& member : *golden.object()) {
    const ElementType* type = element_type(member.key);
    CHECK(type && type->to_float);
    std::vector<float> floats;
    for (const JsonValue& value : *member.value.find("floats")->array()) {
      double number = 0;
      CHECK(value.number(number));
      floats.push_back(static_cast<float>(number));
    }
    const std::string bytes = from_hex(*member.value.find("hex")->string());
    const Tensor expected = at::tensor(floats, at::kFloat);
    CHECK(at::equal(converted(*type, bytes, at::kFloat), expected));
    CHECK(at::equal(converted(*type, bytes, at::kBFloat16), expected.to(at::kBFloat16)));
    ++types;
  }
  CHECK(types == 11);
}

CHECK_CASE("weights: all 65,536 halves and bfloat16s convert as ATen converts them") {
  const Tensor bits = at::arange(65536, at::kInt).to(at::kShort).contiguous();
  const std::string bytes(static_cast<const char*>(bits.const_data_ptr()), 131072);
  for (const auto& [name, dtype] :
       {std::pair{"F16", at::kHalf}, std::pair{"BF16", at::kBFloat16}}) {
    const Tensor expected = bits.view(dtype).to(at::kFloat);
    const Tensor nan = at::isnan(expected);
    for (const at::ScalarType to : {at::kFloat, at::kBFloat16}) {
      const Tensor got = converted(*element_type(name), bytes, to).to(at::kFloat);
      CHECK(at::equal(at::isnan(got), nan));
      CHECK(at::equal(got.masked_fill(nan, 0), expected.to(to).to(at::kFloat).masked_fill(nan, 0)));
    }
  }
}

CHECK_CASE(
    "weights: a GGUF file becomes engine tensors in order, q and k rows back in Hugging Face's "
    "order") {
  const LoadedWeights model = tiny_model();
  const std::vector<std::string> order = {
      "embedding",          "layers.0.input_norm", "layers.0.qkv",  "layers.0.out",
      "layers.0.post_norm", "layers.0.gate_up",    "layers.0.down", "final_norm"};
  CHECK(model.tensors.size() == order.size());
  for (size_t i = 0; i < order.size(); ++i) CHECK(model.tensors[i].first == order[i]);

  // tiny_gguf numbers its tensors: 2 is q [8, 8], 3 is k [4, 8], 4 is v [4, 8].
  const auto file = [](int64_t n, int64_t rows) {
    return n + at::arange(rows * 8, at::kFloat).div(1000.0).view({rows, 8});
  };
  const Tensor q = file(2, 8).index_select(
      0, at::tensor({0, 2, 1, 3, 4, 6, 5, 7}, at::kLong));  // head_dim 4: pairs to halves
  const Tensor k = file(3, 4).index_select(0, at::tensor({0, 2, 1, 3}, at::kLong));
  CHECK_CLOSE(named(model.tensors, "layers.0.qkv"), at::cat({q, k, file(4, 4)}), 1e-6);
  CHECK_CLOSE(named(model.tensors, "layers.0.gate_up"), at::cat({file(7, 6), file(8, 6)}), 1e-6);
  CHECK_CLOSE(named(model.tensors, "embedding"), file(0, 19), 1e-6);

  CHECK(model.config.tie_word_embeddings && model.config.vocab_size == 19 &&
        model.config.head_dim == 4);
  CHECK(model.config.rms_norm_eps == 1e-5 && model.config.rope.theta == 1e5);
  CHECK(model.config.bos_token_id == 1 && model.config.eos_token_ids == std::vector<int64_t>{2});
  const JsonValue metadata = parse_json(model.metadata_json, "metadata");
  CHECK(metadata.find("tokenizer.ggml.tokens")->array()->size() == 19);
  CHECK(*metadata.find("general.architecture")->string() == "llama");
}

CHECK_CASE("weights: a GGUF file with its own output matrix is not tied") {
  Gguf g = tiny_gguf();
  g.tensors.push_back({"output.weight", {8, 19}, 0, numbered(11, 152), std::nullopt});
  const TemporaryFolder folder;
  const LoadedWeights model = load_weights(folder.write("untied.gguf", g.build()), at::kBFloat16);
  CHECK(!model.config.tie_word_embeddings && model.tensors.back().first == "head");
  CHECK(model.tensors.back().second.scalar_type() == at::kBFloat16);
}

CHECK_CASE("weights: a tied model takes the head that its file has, where it differs") {
  const LoadedWeights model = tiny_model();
  ModelConfig untied = model.config;
  untied.tie_word_embeddings = false;
  for (const bool own : {false, true}) {
    const TemporaryFolder folder;
    write_file_atomic(folder.file("config.json"), config_to_json(model.config, DType::float32));
    NamedTensors tensors = model.tensors;
    const Tensor head = own ? named(tensors, "embedding") + 1 : named(tensors, "embedding").clone();
    tensors.emplace_back("head", head);
    save_weights(folder.path(), untied, tensors, at::kFloat);
    const LoadedWeights loaded = load_weights(folder.path(), at::kFloat);
    CHECK(loaded.config.tie_word_embeddings == !own);
    if (own)
      CHECK(at::equal(named(loaded.tensors, "head"), head));
    else
      check_same(loaded.tensors, model.tensors);
  }
}

CHECK_CASE(
    "weights: a cancelled save leaves the earlier model as it was, in one file and in shards") {
  const LoadedWeights model = tiny_model();
  NamedTensors other = model.tensors;
  for (auto& [name, tensor] : other) tensor = tensor + 1;
  for (const int64_t most : {kMaxShardBytes, int64_t{600}}) {
    const TemporaryFolder folder;
    write_file_atomic(folder.file("config.json"), config_to_json(model.config, DType::float32));
    save_weights(folder.path(), model.config, model.tensors, at::kFloat, most);
    std::map<std::string, std::string> before;
    const auto contents = [&] {
      std::map<std::string, std::string> files;
      for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
        files[entry.path().filename()] = read_file(entry.path(), 1 << 20);
      return files;
    };
    before = contents();
    Cancel cancel;
    cancel.request();
    CHECK_THROWS(aborted, "aborted",
                 save_weights(folder.path(), model.config, other, at::kFloat, most, cancel));
    CHECK(contents() == before);
    save_weights(folder.path(), model.config, other, at::kFloat, most);
    check_same(load_weights(folder.path(), at::kFloat).tensors, other);
  }
}

CHECK_CASE(
    "weights: a saved model is read back equal, as one file and as shards, in float32 and "
    "bfloat16") {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const LoadedWeights model = tiny_model(dtype);
    const DType type = dtype == at::kFloat ? DType::float32 : DType::bfloat16;
    const TemporaryFolder folder;
    write_file_atomic(folder.file("config.json"), config_to_json(model.config, type));
    save_weights(folder.path(), model.config, model.tensors, dtype);
    check_same(load_weights(folder.path(), dtype).tensors, model.tensors);
    const std::string once = read_file(folder.file("model.safetensors"), 1 << 20);
    save_weights(folder.path(), model.config, model.tensors, dtype);
    CHECK(read_file(folder.file("model.safetensors"), 1 << 20) ==
          once);  // equal tensors, equal bytes

    save_weights(folder.path(), model.config, model.tensors, dtype, 600);
    CHECK(!file_exists(folder.file(
        "model.safetensors")));  // a stale single file would be read instead of the shards
    CHECK(file_exists(folder.file("model.safetensors.index.json")));
    check_same(load_weights(folder.path(), dtype).tensors, model.tensors);
    save_weights(folder.path(), model.config, model.tensors, dtype);
    CHECK(!file_exists(folder.file("model.safetensors.index.json")));
    size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path()))
      ++files;
    CHECK(files == 2);
  }
}

CHECK_CASE(
    "weights: any tensors and metadata survive a safetensors file, each aligned to its element") {
  const TemporaryFolder folder;
  const NamedTensors tensors = {{"z", at::arange(3, at::kFloat)},
                                {"a", at::arange(5, at::kFloat).to(at::kBFloat16)},
                                {"scalar", at::scalar_tensor(2.5, at::kFloat)},
                                {"empty", at::empty({0, 4}, at::kFloat)},
                                {"transposed", at::arange(6, at::kFloat).view({2, 3}).t()},
                                {"steps", at::arange(2, at::kLong)}};
  write_safetensors(folder.file("state.safetensors"), tensors,
                    {{"step", "7"}, {"note", "ä \"quoted\"\n"}});
  const std::unique_ptr<SafetensorsReader> reader =
      open_safetensors(folder.file("state.safetensors"));
  CHECK(reader->metadata() == (std::vector<std::pair<std::string, std::string>>{
                                  {"note", "ä \"quoted\"\n"}, {"step", "7"}}));
  for (const auto& [name, tensor] : tensors) {
    CHECK(reader->find(name)->offset % static_cast<uint64_t>(tensor.element_size()) == 0);
    if (name != "steps")
      CHECK(at::equal(reader->read(name, tensor.scalar_type()), tensor.contiguous()));
  }
  CHECK_THROWS(unsupported, "element type I64", reader->read("steps", at::kFloat));
  CHECK_THROWS(invalid_file, "no tensor \"b\"", reader->read("b", at::kFloat));
}

CHECK_CASE(
    "weights: config.json of transformers 4 and 5 mean the same, and ours is read back equal") {
  const std::string four = kTinyConfig;
  const std::string five =
      replaced(four, R"("rope_theta":100000.0)",
               R"("rope_parameters":{"rope_theta":100000.0,"rope_type":"default"})");
  const ModelConfig a = config_from_json(four, "a"), b = config_from_json(five, "b");
  const ModelConfig c = config_from_json(config_to_json(a, DType::bfloat16), "c");
  for (const ModelConfig& config : {b, c}) {
    CHECK(config.rope.theta == 100000.0 && config.rms_norm_eps == a.rms_norm_eps &&
          config.head_dim == 4);
    CHECK(config.vocab_size == 19 && config.tie_word_embeddings && config.bos_token_id == 1);
    CHECK(config.eos_token_ids == a.eos_token_ids && config.num_kv_heads == 1);
  }
  const ModelConfig many =
      config_from_json(replaced(four, R"("eos_token_id":2)", R"("eos_token_id":[2,3])"), "many");
  CHECK(many.eos_token_ids == (std::vector<int64_t>{2, 3}));
  CHECK(config_from_json(config_to_json(many, DType::float32), "many").eos_token_ids ==
        many.eos_token_ids);
  const ModelConfig none = config_from_json(replaced(four, R"("bos_token_id":1,"eos_token_id":2)",
                                                     R"("bos_token_id":null,"eos_token_id":null)"),
                                            "none");
  CHECK(none.bos_token_id == -1 && none.eos_token_ids.empty());
}
