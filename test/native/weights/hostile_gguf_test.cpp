// Malicious GGUF files.
#include <sys/stat.h>

#include "hostile.h"
#include "weights/load.h"
#include "weights/reader.h"

using namespace cream;
using namespace hostile;

namespace {

struct GgufLie {
  const char* intent;
  std::function<void(Gguf&)> tell;
  const char* sentence;
};
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

}  // namespace

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
