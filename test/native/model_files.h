// Tiny model files made in memory, valid or with one false statement: a Llama of 1 layer, 2 heads,
// 1 key-value head, 19 tokens.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

namespace model_files {

// A temporary folder, removed with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cream-check-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(file(name), std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return file(name);
  }

 private:
  std::string path_;
};

template <class T>
std::string raw(T value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}

// --- GGUF
// -------------------------------------------------------------------------------------------------

inline std::string gguf_string(const std::string& text) {
  return raw<uint64_t>(text.size()) + text;
}
inline std::string u32_value(uint32_t value) { return raw<uint32_t>(4) + raw(value); }
inline std::string f32_value(float value) { return raw<uint32_t>(6) + raw(value); }
inline std::string string_value(const std::string& text) {
  return raw<uint32_t>(8) + gguf_string(text);
}

struct GgufTensor {
  std::string name;
  std::vector<uint64_t> dims;  // innermost first, as in the file
  uint32_t type = 0;           // F32
  std::string data;
  std::optional<uint64_t> offset;  // a false offset; empty: the true one
};

struct Gguf {
  uint32_t version = 3, alignment = 32;
  std::optional<uint64_t> tensor_count, pair_count;
  std::vector<std::pair<std::string, std::string>> metadata;  // key, encoded type and value
  std::vector<GgufTensor> tensors;

  std::string* value(const std::string& key) {
    for (auto& [name, encoded] : metadata)
      if (name == key) return &encoded;
    return &metadata.emplace_back(key, "").second;
  }
  GgufTensor& tensor(const std::string& name) {
    for (GgufTensor& t : tensors)
      if (t.name == name) return t;
    throw std::runtime_error("no tensor " + name);
  }

  std::string build() const {
    std::string out = "GGUF" + raw(version) + raw(tensor_count.value_or(tensors.size())) +
                      raw(pair_count.value_or(metadata.size()));
    for (const auto& [key, encoded] : metadata) out += gguf_string(key) + encoded;
    std::string data;
    for (const GgufTensor& t : tensors) {
      out += gguf_string(t.name) + raw<uint32_t>(static_cast<uint32_t>(t.dims.size()));
      for (const uint64_t size : t.dims) out += raw(size);
      out += raw(t.type) + raw(t.offset.value_or(data.size()));
      data += t.data;
      data.resize((data.size() + alignment - 1) / alignment * alignment);
    }
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out + data;
  }
};

// Element i of tensor number n is n + i/1000, so swapped tensors, rows or columns are detected.
inline std::string numbered(size_t n, uint64_t elements) {
  std::string out;
  for (uint64_t i = 0; i < elements; ++i)
    out += raw(static_cast<float>(n) + static_cast<float>(i) / 1000.0f);
  return out;
}

inline Gguf tiny_gguf() {
  Gguf g;
  std::string tokens = raw<uint32_t>(9) + raw<uint32_t>(8) + raw<uint64_t>(19);
  for (int i = 0; i < 19; ++i) tokens += gguf_string("t" + std::to_string(i));
  g.metadata = {{"general.architecture", string_value("llama")},
                {"llama.block_count", u32_value(1)},
                {"llama.context_length", u32_value(64)},
                {"llama.embedding_length", u32_value(8)},
                {"llama.feed_forward_length", u32_value(6)},
                {"llama.attention.head_count", u32_value(2)},
                {"llama.attention.head_count_kv", u32_value(1)},
                {"llama.attention.layer_norm_rms_epsilon", f32_value(1e-5f)},
                {"llama.rope.freq_base", f32_value(100000.0f)},
                {"tokenizer.ggml.tokens", tokens},
                {"tokenizer.ggml.bos_token_id", u32_value(1)},
                {"tokenizer.ggml.eos_token_id", u32_value(2)}};
  const std::vector<std::pair<std::string, std::vector<uint64_t>>> shapes = {
      {"token_embd.weight", {8, 19}},  {"blk.0.attn_norm.weight", {8}},
      {"blk.0.attn_q.weight", {8, 8}}, {"blk.0.attn_k.weight", {8, 4}},
      {"blk.0.attn_v.weight", {8, 4}}, {"blk.0.attn_output.weight", {8, 8}},
      {"blk.0.ffn_norm.weight", {8}},  {"blk.0.ffn_gate.weight", {8, 6}},
      {"blk.0.ffn_up.weight", {8, 6}}, {"blk.0.ffn_down.weight", {6, 8}},
      {"output_norm.weight", {8}}};
  for (const auto& [name, dims] : shapes) {
    uint64_t elements = 1;
    for (const uint64_t size : dims) elements *= size;
    g.tensors.push_back({name, dims, 0, numbered(g.tensors.size(), elements), std::nullopt});
  }
  return g;
}

// --- safetensors
// -------------------------------------------------------------------------------------------------

inline std::string safetensors(const std::string& header, size_t data_bytes) {
  return raw<uint64_t>(header.size()) + header + std::string(data_bytes, '\1');
}

inline const char* const kTinyConfig =
    R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":19,)"
    R"("hidden_size":8,"intermediate_size":6,)"
    R"("num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,)"
    R"("max_position_embeddings":64,"rms_norm_eps":1e-05,)"
    R"("rope_theta":100000.0,"tie_word_embeddings":true,"bos_token_id":1,"eos_token_id":2})";

// Replaces the only occurrence of `from` in `text`.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos || text.find(from, at + 1) != std::string::npos)
    throw std::runtime_error("not exactly one " + from);
  return text.replace(at, from.size(), to);
}

}  // namespace model_files
