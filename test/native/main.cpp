#include <cstdio>
#include <cstring>

#include "check.h"
#include "emulated_device.h"
#include "test_device.h"

namespace check {

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

static void compare(const at::Tensor& a, const at::Tensor& b, double difference, double tolerance,
                    const char* measure, const char* expression, const char* file, int line) {
  if (difference <= tolerance) return;  // false for NaN too
  std::ostringstream out;
  out << expression << ": " << measure << " " << difference << " > " << tolerance;
  fail(out.str(), file, line);
}

static void same_shape(const at::Tensor& a, const at::Tensor& b, const char* expression,
                       const char* file, int line) {
  if (a.sizes() == b.sizes()) return;
  std::ostringstream out;
  out << expression << ": shapes " << a.sizes() << " and " << b.sizes();
  fail(out.str(), file, line);
}

void close(const at::Tensor& a, const at::Tensor& b, double tolerance, const char* expression,
           const char* file, int line) {
  same_shape(a, b, expression, file, line);
  if (a.numel() == 0) return;
  const double difference = (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
  compare(a, b, difference, tolerance, "max |difference|", expression, file, line);
}

void relative(const at::Tensor& a, const at::Tensor& b, double tolerance, const char* expression,
              const char* file, int line) {
  same_shape(a, b, expression, file, line);
  const double difference = (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>();
  const double scale = b.to(at::kDouble).norm().item<double>();
  compare(a, b, difference / (scale > 0 ? scale : 1), tolerance, "relative difference", expression,
          file, line);
}

}  // namespace check

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--list") == 0) {
    for (const auto& c : check::cases()) std::printf("%s\n", c.name.c_str());
    return 0;
  }
  if (argc > 2 && std::strcmp(argv[1], "--device") == 0) {
    try {
      check::set_test_device(argv[2]);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "cream_check: %s\n", error.what());
      return 2;
    }
    argc -= 2;
    argv += 2;
  }
  if (!check::runs_on_gpu()) check::register_emulated();
  int passed = 0, failed = 0, skipped = 0;
  for (const auto& c : check::cases()) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted = wanted || c.name == argv[i];
    if (!wanted) continue;
    try {
      c.run();
      ++passed;
      std::printf("ok %s\n", c.name.c_str());
    } catch (const check::Skip& skip) {
      ++skipped;
      std::printf("skip %s: %s\n", c.name.c_str(), skip.what());
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAIL %s: %s\n", c.name.c_str(), error.what());
    }
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  return failed ? 1 : 0;
}
