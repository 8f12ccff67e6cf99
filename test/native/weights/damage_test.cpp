// Thousands of damaged files, which must load or be refused with cream::Error.
#include "hostile.h"
#include "weights/load.h"
#include "weights/reader.h"

using namespace cream;
using namespace hostile;

namespace {

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
