// Malicious safetensors headers and shard indexes.
#include "hostile.h"
#include "weights/load.h"
#include "weights/reader.h"

using namespace cream;
using namespace hostile;

namespace {

const Lie kLies[] = {
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

const Lie kIndexLies[] = {
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

}  // namespace

CHECK_CASE("hostile: lies in a safetensors header") {
  const std::string honest = safetensors(kHeader, 16);
  CHECK(parse_safetensors(bytes_of(honest), honest.size(), "FILE").tensors.size() == 2);
  const auto parse = [](const std::string& file) {
    parse_safetensors(bytes_of(file), file.size(), "FILE");
  };
  for (const Lie& lie : kLies)
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
  for (const Lie& lie : kIndexLies)
    refused(lie.intent, lie.sentence, [&] { open(replaced(index, lie.from, lie.to)); });
  write_safetensors(directory + "/two.safetensors",
                    {{"b", at::zeros({2})}, {"hidden", at::zeros({2})}}, {});
  refused("a tensor beside the index", "holds the tensor \"hidden\", which the index does not list",
          [&] { open(index); });
  std::filesystem::remove(directory + "/model.safetensors.index.json");
  refused("an empty folder", "has neither model.safetensors nor",
          [&] { open_safetensors(directory); });
}
