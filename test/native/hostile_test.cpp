// Malicious files. Each table entry is one false statement, its purpose, and the expected error;
// then thousands of damaged files, which must load or be refused with cream::Error.
#include <sys/stat.h>

#include "check.h"
#include "model_files.h"
#include "support/json.h"
#include "weights/load.h"
#include "weights/reader.h"

using namespace cream;
using namespace model_files;

namespace {

const uint8_t* bytes_of(const std::string& text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// Runs `read` and requires the error; the entry's purpose is part of the failure's text.
void refused(const std::string& intent, const std::string& sentence,
             const std::function<void()>& read) {
  try {
    read();
  } catch (const Error& error) {
    if (std::string(error.what()).find(sentence) != std::string::npos &&
        std::string(error.what()).find("FILE") != std::string::npos)
      return;
    check::fail(intent + ": expected FILE and \"" + sentence + "\", got \"" + error.what() + "\"",
                __FILE__, __LINE__);
  }
  check::fail(intent + ": was accepted", __FILE__, __LINE__);
}

// --- safetensors
// -------------------------------------------------------------------------------------------------

const char* const kHeader =
    R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[2,)"
    R"(2],"data_offsets":[8,16]}})";

struct HeaderLie {
  const char *intent, *from, *to, *sentence;
};
const HeaderLie kHeaderLies[] = {
    {"read beyond the end", "[8,16]", "[8,24]",
     "dtype and shape take 8 bytes, data_offsets hold 16"},
    {"read beyond the end with a matching shape", R"([2,2],"data_offsets":[8,16])",
     R"([4,2],"data_offsets":[8,24])", "\"b\": data_offsets reach beyond the end"},
    {"read another tensor's bytes", "[8,16]", "[4,12]", "\"a\" and \"b\" overlap"},
    {"smuggle bytes between tensors", R"([2],"data_offsets":[0,8])", R"([1],"data_offsets":[0,4])",
     "bytes before the tensor \"b\" that belong to no tensor"},
    {"begin after the end", "[8,16]", "[16,8]", "data_offsets must be [begin, end]"},
    {"offset of 2^63", "[8,16]", "[8,9223372036854775808]",
     "data_offsets holds something other than whole numbers"},
    {"shape whose product wraps to a small number", "[2,2]", "[4294967296,4294967296,4294967296]",
     "\"b\" is impossibly large"},
    {"negative dimension", "[2,2]", "[-2,-2]", "shape holds something other than whole numbers"},
    {"fractional dimension", "[2,2]", "[2.0,2]", "shape holds something other than whole numbers"},
    {"unknown dtype", "BF16", "F7", "unknown dtype \"F7\""},
    {"GGUF's dtype in a safetensors file", "BF16", "Q4_K", "unknown dtype \"Q4_K\""},
    {"the same name twice, two meanings", R"("b":)", R"("a":)", "the key \"a\" appears twice"},
    {"no shape", R"("shape":[2],)", "", "dtype, shape and data_offsets are expected"},
    {"a tensor that is a number", R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", "1",
     "dtype, shape and data_offsets are expected"},
    {"metadata that is no text", R"({"a":)", R"({"__metadata__":{"x":1},"a":)",
     "__metadata__ holds something other than strings"},
    {"a name that is not UTF-8", R"("b":)", "\"\xff\":", "bytes that are not UTF-8"},
    {"unfinished header", "[8,16]}}", "[8,16]", "expected ',' or '}'"},
    {"a nesting bomb", "[2,2]",
     "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
     "nesting deeper than 64"},
};

// --- GGUF
// -------------------------------------------------------------------------------------------------

struct GgufLie {
  const char* intent;
  std::function<void(Gguf&)> tell;
  const char* sentence;
};
const uint64_t kHuge = uint64_t{1} << 63;
const GgufLie kGgufLies[] = {
    {"a version from the future", [](Gguf& g) { g.version = 4; }, "GGUF version 4"},
    {"a big-endian file", [](Gguf& g) { g.version = 0x03000000; },
     "little-endian versions 2 and 3"},
    {"allocate 2^63 tensors", [](Gguf& g) { g.tensor_count = kHuge; },
     "claims 9223372036854775808 tensors"},
    {"allocate 2^63 pairs", [](Gguf& g) { g.pair_count = kHuge; },
     "claims 9223372036854775808 metadata keys"},
    {"one tensor too many", [](Gguf& g) { g.tensor_count = g.tensors.size() + 1; },
     "the tensor \"\" has 0 dimensions"},
    {"a string of 2^63 bytes",
     [](Gguf& g) { *g.value("general.name") = raw<uint32_t>(8) + raw(kHuge); },
     "the file ends within a metadata string"},
    {"an array of 2^63 strings",
     [](Gguf& g) { *g.value("x") = raw<uint32_t>(9) + raw<uint32_t>(8) + raw(kHuge); },
     "claims 9223372036854775808 array entries"},
    {"arrays within arrays without end",
     [](Gguf& g) {
       std::string nested;
       for (int i = 0; i < 50; ++i) nested += raw<uint32_t>(9) + raw<uint64_t>(1);
       *g.value("x") = raw<uint32_t>(9) + nested + raw<uint32_t>(0) + raw<uint64_t>(0);
     },
     "nests arrays too deeply"},
    {"an unknown metadata type", [](Gguf& g) { *g.value("x") = raw<uint32_t>(13); },
     "\"x\" has the unknown type 13"},
    {"a boolean of 2", [](Gguf& g) { *g.value("x") = raw<uint32_t>(7) + "\2"; }, "neither 0 nor 1"},
    {"a key twice, two meanings", [](Gguf& g) { g.metadata.push_back(g.metadata[0]); },
     "\"general.architecture\" appears twice"},
    {"a key that is not UTF-8", [](Gguf& g) { g.metadata[3].first = "\xc0\x80"; }, "is not UTF-8"},
    {"divide by alignment 0", [](Gguf& g) { *g.value("general.alignment") = u32_value(0); },
     "must be a power of two"},
    {"an alignment of 48", [](Gguf& g) { *g.value("general.alignment") = u32_value(48); },
     "must be a power of two"},
    {"an offset of 2^63", [](Gguf& g) { g.tensors[3].offset = kHuge; },
     "\"blk.0.attn_k.weight\" starts beyond the end"},
    {"an offset that wraps around", [](Gguf& g) { g.tensors[3].offset = ~uint64_t{31}; },
     "starts beyond the end"},
    {"an offset off the alignment", [](Gguf& g) { g.tensors[3].offset = 4; },
     "does not start at a multiple of 32"},
    {"two names for the same bytes", [](Gguf& g) { g.tensors[3].offset = 0; }, "overlap"},
    {"the last tensor cut short", [](Gguf& g) { g.tensors.back().data.resize(0); },
     "beyond the end of the file"},
    {"a tensor twice", [](Gguf& g) { g.tensors.push_back(g.tensors[1]); },
     "\"blk.0.attn_norm.weight\" appears twice"},
    {"a size of 2^62 elements",
     [](Gguf& g) { g.tensors[2].dims = {uint64_t{1} << 40, uint64_t{1} << 40}; },
     "impossibly large"},
    {"a dimension of 0", [](Gguf& g) { g.tensors[2].dims = {8, 0}; }, "has a dimension of 0"},
    {"no dimension", [](Gguf& g) { g.tensors[2].dims = {}; }, "has 0 dimensions"},
    {"2^32 - 1 dimensions", [](Gguf& g) { g.tensors[2].dims.assign(5, 1); }, "has 5 dimensions"},
    {"an unknown element type", [](Gguf& g) { g.tensors[2].type = 99; }, "unknown element type 99"},
    {"a removed element type", [](Gguf& g) { g.tensors[2].type = 4; }, "unknown element type 4"},
    {"half a block", [](Gguf& g) { g.tensors[2].type = 12; },
     "not a multiple of Q4_K's block of 256"},
    {"another architecture",
     [](Gguf& g) { *g.value("general.architecture") = string_value("mamba"); },
     "\"mamba\" instead of llama"},
    {"a layer count without end",
     [](Gguf& g) { *g.value("llama.block_count") = u32_value(0xFFFFFFFF); },
     "\"llama.block_count\" must be a whole number"},
    {"zero heads, a division",
     [](Gguf& g) { *g.value("llama.attention.head_count") = u32_value(0); },
     "head_count\" must be a whole number"},
    {"more key-value heads than heads",
     [](Gguf& g) { *g.value("llama.attention.head_count_kv") = u32_value(3); },
     "head_count_kv\" must be a whole number"},
    {"heads as an array",
     [](Gguf& g) {
       *g.value("llama.attention.head_count") =
           raw<uint32_t>(9) + raw<uint32_t>(4) + raw<uint64_t>(0);
     },
     "is an array where one value is expected"},
    {"a size as text", [](Gguf& g) { *g.value("llama.embedding_length") = string_value("8"); },
     "must be a whole number"},
    {"an epsilon of NaN",
     [](Gguf& g) { *g.value("llama.attention.layer_norm_rms_epsilon") = f32_value(NAN); },
     "must be a number"},
    {"an end token outside the vocabulary",
     [](Gguf& g) { *g.value("tokenizer.ggml.eos_token_id") = u32_value(19); },
     "eos_token_id\" must be a whole number from 0 to 18"},
    {"fewer tokens than rows",
     [](Gguf& g) {
       *g.value("tokenizer.ggml.tokens") = raw<uint32_t>(9) + raw<uint32_t>(8) + raw<uint64_t>(0);
     },
     "lists 0 tokens, the embedding has 19 rows"},
    {"scaled RoPE, silently wrong answers",
     [](Gguf& g) { *g.value("llama.rope.scaling.type") = string_value("yarn"); },
     "RoPE scaling of type \"yarn\""},
    {"a shape that is not the config's",
     [](Gguf& g) {
       std::swap(g.tensor("blk.0.ffn_down.weight").dims[0],
                 g.tensor("blk.0.ffn_down.weight").dims[1]);
     },
     "\"blk.0.ffn_down.weight\" has shape [6, 8], the config asks for [8, 6]"},
    {"a layer short", [](Gguf& g) { *g.value("llama.block_count") = u32_value(2); },
     "\"blk.1.attn_norm.weight\" is missing"},
    {"a tensor nobody asked for",
     [](Gguf& g) {
       g.tensors.push_back({"blk.0.attn_q.bias", {8}, 0, numbered(0, 8), std::nullopt});
     },
     "\"blk.0.attn_q.bias\" has no place"},
};

// --- config.json and the index
// -----------------------------------------------------------------------------------------

const HeaderLie kConfigLies[] = {
    {"another family", R"("model_type":"llama")", R"("model_type":"mixtral")",
     "model_type is \"mixtral\", which this engine does not implement. Use a model of one of these "
     "families: llama, mistral"},
    {"another head", "LlamaForCausalLM", "LlamaForTokenClassification",
     "architectures is \"LlamaForTokenClassification\""},
    {"no layers", R"("num_hidden_layers":1)", R"("num_hidden_layers":0)",
     "num_hidden_layers must be a whole number from 1 to 1024"},
    {"a missing size", R"("hidden_size":8,)", "", "hidden_size is missing"},
    {"a size of 2^63", R"("vocab_size":19)", R"("vocab_size":9223372036854775808)",
     "vocab_size must be a whole number"},
    {"heads that do not share evenly", R"("num_attention_heads":2,"num_key_value_heads":1)",
     R"("num_attention_heads":8,"head_dim":2,"num_key_value_heads":3)",
     "not a multiple of the key-value heads"},
    {"a hidden size that heads cannot cut", R"("num_attention_heads":2)",
     R"("num_attention_heads":3)", "hidden_size is not a multiple of num_attention_heads"},
    {"an odd head, no RoPE pairs", R"("num_attention_heads":2)",
     R"("head_dim":3,"num_attention_heads":2)", "the head size (3) is odd"},
    {"positions without end, a table of terabytes", R"("max_position_embeddings":64)",
     R"("max_position_embeddings":1000000000000)",
     "max_position_embeddings must be a whole number"},
    {"an epsilon below 0", R"("rms_norm_eps":1e-05)", R"("rms_norm_eps":-1)",
     "rms_norm_eps must be a positive number"},
    {"a theta that overflows", "100000.0", "1e999", "number out of range"},
    {"a flag as text", R"("tie_word_embeddings":true)", R"("tie_word_embeddings":"yes")",
     "tie_word_embeddings must be true or false"},
    {"an end token outside the vocabulary", R"("eos_token_id":2)", R"("eos_token_id":[2,19])",
     "eos_token_id must be a whole number from 0 to 18"},
    {"one family under another's name", R"("model_type":"llama")", R"("model_type":"qwen3")",
     "architectures is \"LlamaForCausalLM\" instead of \"Qwen3ForCausalLM\""},
    {"RoPE that nobody knows, transformers 4", R"("rope_theta":100000.0)",
     R"("rope_scaling":{"type":"ntk"})", "rope_scaling.type is \"ntk\""},
    {"RoPE that nobody knows, transformers 5", R"("rope_theta":100000.0)",
     R"("rope_parameters":{"rope_type":"ntk"})", "rope_parameters.rope_type is \"ntk\""},
    {"scaled RoPE without its factor", R"("rope_theta":100000.0)",
     R"("rope_parameters":{"rope_type":"linear"})",
     "rope_parameters.factor is missing, and linear scaling needs it"},
    {"scaled RoPE without its bounds", R"("rope_theta":100000.0)",
     R"("rope_scaling":{"rope_type":"llama3","factor":8.0})",
     "rope_scaling.low_freq_factor is missing"},
    {"a division by zero in llama3 scaling", R"("rope_theta":100000.0)",
     R"("rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":4,)"
     R"("high_freq_factor":4})",
     "high_freq_factor must differ"},
    {"longrope with factors missing", R"("rope_theta":100000.0)",
     R"("rope_scaling":{"rope_type":"longrope","short_factor":[1],"long_factor":[1,2]})",
     "short_factor must list 2 numbers"},
    {"heads rotated in part", R"("rope_theta":100000.0)", R"("partial_rotary_factor":0.5)",
     "partial_rotary_factor is not 1 in a llama model"},
    {"one RoPE a kind of layer", R"("rope_theta":100000.0)",
     R"("rope_parameters":{"full_attention":{"rope_type":"default"}})",
     "rope_parameters.full_attention is present in a llama model"},
    {"an activation that nobody knows", R"("vocab_size":19)",
     R"("vocab_size":19,"hidden_act":"relu")", "hidden_act is \"relu\""},
    {"experts", R"("vocab_size":19)", R"("vocab_size":19,"num_local_experts":8)",
     "num_local_experts asks for experts"},
    {"packed weights", R"("vocab_size":19)", R"("vocab_size":19,"quantization_config":{})",
     "quantization_config is present"},
    {"a size twice, two meanings", R"("vocab_size":19)", R"("vocab_size":19,"vocab_size":20)",
     "the key \"vocab_size\" appears twice"},
};

const HeaderLie kIndexLies[] = {
    {"read outside the folder", "one.safetensors", "../one.safetensors",
     "only .safetensors files in the same folder"},
    {"read an absolute path", "one.safetensors", "/etc/passwd",
     "only .safetensors files in the same folder"},
    {"cut the name with a NUL", "one.safetensors", "one\\u0000.safetensors",
     "only .safetensors files in the same folder"},
    {"open something that is no tensor file", "one.safetensors", "one.bin",
     "only .safetensors files in the same folder"},
    {"no file at all", "\"one.safetensors\"", "null", "weight_map gives no file name for \"a\""},
    {"an empty map", R"({"a":"one.safetensors","b":"two.safetensors"})", "{}",
     "weight_map is missing, empty or no object"},
    {"a shard that is not there", "two.safetensors", "three.safetensors",
     "the shard \"three.safetensors\" is missing"},
    {"a tensor in the wrong shard", R"("b":"two)", R"("c":"two)",
     "\"c\" is not in \"two.safetensors\""},
    {"a tensor that the index hides", R"("b":"two.safetensors")", R"("a2":"one.safetensors")",
     "\"a2\" is not in \"one.safetensors\""},
};

// --- damage
// -------------------------------------------------------------------------------------------------

// A fixed random sequence (Knuth's MMIX generator), so a failure can be reproduced by its round.
struct Dice {
  uint64_t state;
  uint64_t below(uint64_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % limit;
  }
};

std::string damaged(std::string bytes, uint64_t round) {
  Dice dice{round * 2654435761u + 1};
  for (uint64_t changes = 1 + dice.below(3); changes > 0 && !bytes.empty(); --changes) {
    const size_t at = dice.below(
        dice.below(2) ? bytes.size()
                      : std::min<size_t>(bytes.size(), 600));  // damages headers more often
    switch (dice.below(6)) {
      case 0:
        bytes[at] = static_cast<char>(dice.below(256));
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << dice.below(8)));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(at, dice.below(9), static_cast<char>(dice.below(256)));
        break;
      case 4:
        bytes.erase(at, 1 + dice.below(8));
        break;
      default: {
        const uint64_t loud[] = {0, 1, 0x7F, 0xFF, 0xFFFFFFFF, kHuge, ~uint64_t{0}, bytes.size()};
        const std::string number = raw(loud[dice.below(8)]);
        bytes.replace(at, std::min<size_t>(number.size(), bytes.size() - at),
                      number.substr(0, std::min<size_t>(number.size(), bytes.size() - at)));
      }
    }
  }
  return bytes;
}

// Counts the damaged files that are still readable; any exception but cream::Error fails the case.
template <class F>
int survivors(int rounds, F&& read) {
  int alive = 0;
  for (int round = 0; round < rounds; ++round) {
    try {
      read(static_cast<uint64_t>(round));
      ++alive;
    } catch (const Error&) {
    }
  }
  return alive;
}

}  // namespace

CHECK_CASE("hostile: lies in a safetensors header") {
  const std::string honest = safetensors(kHeader, 16);
  CHECK(parse_safetensors(bytes_of(honest), honest.size(), "FILE").tensors.size() == 2);
  const auto parse = [](const std::string& file) {
    parse_safetensors(bytes_of(file), file.size(), "FILE");
  };
  for (const HeaderLie& lie : kHeaderLies)
    refused(lie.intent, lie.sentence,
            [&] { parse(safetensors(replaced(kHeader, lie.from, lie.to), 16)); });
  refused("an empty file", "at least 8 bytes, this one 0", [&] { parse(""); });
  refused("a header of 2^63 bytes", "above the format's limit",
          [&] { parse(raw(kHuge) + kHeader); });
  refused("a header longer than the file", "the header claims 4096 bytes, the file has 2",
          [&] { parse(raw<uint64_t>(4096) + "{}"); });
  refused("no JSON", "does not start with '{'", [&] { parse(safetensors("[]", 0)); });
  refused("a pickle by another name", "this is no safetensors file",
          [&] { parse("\x80\x02}q\x01(X\x05\x00zzzz"); });
  refused("a tail that no tensor owns", "4 bytes at the end that belong to no tensor",
          [&] { parse(safetensors(kHeader, 20)); });
  refused("a file cut in its data", "beyond the end of the file",
          [&] { parse(safetensors(kHeader, 12)); });
}

CHECK_CASE("hostile: lies in a GGUF file") {
  const TemporaryFolder folder;
  CHECK(load_weights(folder.write("FILE.gguf", tiny_gguf().build()), at::kFloat).tensors.size() ==
        8);
  for (const GgufLie& lie : kGgufLies) {
    Gguf g = tiny_gguf();
    lie.tell(g);
    const std::string path = folder.write("FILE.gguf", g.build());
    refused(lie.intent, lie.sentence, [&] { load_weights(path, at::kFloat); });
  }
  refused("another format", "does not start with \"GGUF\"",
          [&] { parse_gguf(bytes_of("GGML0000"), 8, "FILE"); });
  std::filesystem::create_directory(folder.file("FILE.d"));
  refused("a folder where a file is expected", "is not a regular file",
          [&] { open_gguf(folder.file("FILE.d")); });
  refused("a pipe, to block the reader for ever", "is not a regular file", [&] {
    if (::mkfifo(folder.file("FILE.pipe").c_str(), 0600) == 0) open_gguf(folder.file("FILE.pipe"));
  });
}

CHECK_CASE("hostile: lies in config.json") {
  config_from_json(kTinyConfig, "FILE");
  for (const HeaderLie& lie : kConfigLies)
    refused(lie.intent, lie.sentence,
            [&] { config_from_json(replaced(kTinyConfig, lie.from, lie.to), "FILE"); });
  for (const char* text : {"", "nul", "[1,]", "{\"a\" 1}", "01", "1.", "\"\\ud800\"", "\"\\x\"",
                           "{} {}", "\"a\nb\"", "\"", "\"\\u12g4\"", "-", "NaN", "[1"})
    refused(std::string("not JSON: ") + text, "not valid JSON", [&] { parse_json(text, "FILE"); });
  const std::string classifier =
      replaced(kTinyConfig, "LlamaForCausalLM", "LlamaForSequenceClassification");
  CHECK(config_from_json(classifier, "FILE").num_labels == 2);
  const auto labels = [&](const std::string& more) {
    config_from_json(replaced(classifier, "{", "{" + more + ","), "FILE");
  };
  refused("labels in a list", "id2label must be an object with one entry per label",
          [&] { labels(R"("id2label":["good"])"); });
  refused("no label", "id2label must be an object with one entry per label",
          [&] { labels(R"("id2label":{})"); });
  refused("labels without end", "num_labels must be a whole number from 1 to",
          [&] { labels(R"("num_labels":99999999)"); });
  refused("no object", "a JSON object is expected", [&] { config_from_json("[]", "FILE"); });
}

CHECK_CASE("hostile: lies in other families' config.json") {
  const auto config = [](const std::string& type, const std::string& extra) {
    return R"({"model_type":")" + type +
           R"(","vocab_size":19,"hidden_size":16,"intermediate_size":6,"num_hidden_layers":2,)"
           R"("num_attention_heads":2,"num_key_value_heads":1)" +
           extra + "}";
  };
  const auto lie = [&](const std::string& intent, const std::string& type, const std::string& extra,
                       const std::string& sentence) {
    refused(intent, sentence, [&] { config_from_json(config(type, extra), "FILE"); });
  };
  for (const char* type : {"mistral", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3_text", "phi3"})
    config_from_json(config(type, ""), "FILE");
  lie("biases that Mistral lacks", "mistral", R"(,"attention_bias":true)",
      "attention_bias is true in a mistral model");
  lie("biases that Qwen lacks", "qwen3", R"(,"mlp_bias":true)",
      "mlp_bias is true in a qwen3 model");
  lie("a layer too few", "gemma2", R"(,"layer_types":["full_attention"])",
      "layer_types must have one entry for each of the 2 layers");
  lie("a layer of another kind", "qwen2",
      R"(,"layer_types":["full_attention","chunked_attention"])",
      "layer_types has \"chunked_attention\"");
  lie("a window of nothing", "mistral", R"(,"sliding_window":0)",
      "sliding_window must be a whole number from 1");
  lie("sliding without a window", "qwen3",
      R"(,"layer_types":["full_attention","sliding_attention"])",
      "layer_types asks for sliding_attention, but sliding_window gives no window");
  lie("NoPE for too few", "smollm3", R"(,"no_rope_layers":[1])",
      "no_rope_layers must have one entry for each of the 2 layers");
  lie("a gate that is no GeGLU", "gemma2", R"(,"hidden_activation":"gelu")",
      "hidden_activation is \"gelu\"");
  lie("a cap that transformers ignores", "gemma3_text", R"(,"attn_logit_softcapping":50.0)",
      "attn_logit_softcapping is set");
  lie("looking ahead", "gemma3_text", R"(,"use_bidirectional_attention":true)",
      "use_bidirectional_attention is true");
  lie("half a pair rotated", "phi3", R"(,"partial_rotary_factor":0.4)",
      "partial_rotary_factor turns 3 of 8 entries");
  lie("Gemma 3 without its text", "gemma3", "", "text_config is missing");
  lie("Gemma 3 with another text", "gemma3", R"(,"text_config":{"model_type":"t5"})",
      "text_config.model_type is \"t5\"");
}

CHECK_CASE("hostile: lies in a shard index") {
  const std::string index = R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})";
  const TemporaryFolder folder;
  const std::string directory = folder.file("FILE");
  std::filesystem::create_directory(directory);
  const auto open = [&](const std::string& text) {
    folder.write("FILE/model.safetensors.index.json", text);
    open_safetensors(directory);
  };
  write_safetensors(directory + "/one.safetensors", {{"a", at::zeros({2})}}, {});
  write_safetensors(directory + "/two.safetensors", {{"b", at::zeros({2})}}, {});
  open(index);
  for (const HeaderLie& lie : kIndexLies)
    refused(lie.intent, lie.sentence, [&] { open(replaced(index, lie.from, lie.to)); });
  write_safetensors(directory + "/two.safetensors",
                    {{"b", at::zeros({2})}, {"hidden", at::zeros({2})}}, {});
  refused("a tensor beside the index", "holds the tensor \"hidden\", which the index does not list",
          [&] { open(index); });
  std::filesystem::remove(directory + "/model.safetensors.index.json");
  refused("an empty folder", "has neither model.safetensors nor",
          [&] { open_safetensors(directory); });
}

CHECK_CASE("hostile: thousands of damaged files are refused or read, never crash") {
  const TemporaryFolder folder;
  const std::string gguf = tiny_gguf().build(), header = safetensors(kHeader, 16),
                    config = kTinyConfig;
  const int gguf_alive = survivors(3000, [&](uint64_t round) {
    load_weights(folder.write("x.gguf", damaged(gguf, round)), at::kBFloat16);
  });
  const int header_alive = survivors(3000, [&](uint64_t round) {
    const auto reader = open_safetensors(folder.write("x.safetensors", damaged(header, round)));
    for (const TensorInfo& info : reader->tensors()) reader->read(info.name, at::kFloat);
  });
  const int config_alive =
      survivors(3000, [&](uint64_t round) { config_from_json(damaged(config, round), "FILE"); });
  // Damage to weights cannot be detected, but most damage to headers must be; otherwise the loop
  // would test nothing.
  for (const int alive : {gguf_alive, header_alive, config_alive}) CHECK(alive > 0 && alive < 1500);
}
