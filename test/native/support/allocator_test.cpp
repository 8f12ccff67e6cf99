#include "support/allocator.h"

#include "check.h"

CHECK_CASE("support: freed tensor memory is used again and can be released") {
  cream::use_caching_allocator();
  cream::release_cached_memory();
  void* first = nullptr;
  {
    const at::Tensor a = at::full({1 << 20}, 3.0f);
    first = a.data_ptr();
    CHECK(reinterpret_cast<uintptr_t>(first) % 64 == 0);
    CHECK(cream::cached_bytes() == 0);
  }
  CHECK(cream::cached_bytes() >= size_t{4} << 20);
  {
    const at::Tensor b = at::full({(1 << 20) - 5}, 2.0f);  // the same size class
    CHECK(b.data_ptr() == first);
    CHECK(b.sum().item<float>() == 2.0f * ((1 << 20) - 5));
    CHECK(cream::cached_bytes() == 0);
  }
  {
    const at::Tensor small = at::zeros({16});
  }
  cream::release_cached_memory();
  CHECK(cream::cached_bytes() == 0);
}

CHECK_CASE("support: what is kept makes a process hardly larger than its tensors once were") {
  cream::use_caching_allocator();
  cream::release_cached_memory();
  const auto mebibytes = [](int64_t n) { return at::empty({n << 20}, at::kByte); };
  const auto hold = [&](int64_t size) {
    std::vector<at::Tensor> held;
    for (int64_t total = 0; total < 64; total += size) held.push_back(mebibytes(size));
    return held;
  };
  hold(4);
  CHECK(cream::cached_bytes() >= size_t{64} << 20);
  hold(8);  // another size: at most a sixteenth of the old blocks stays cached
  CHECK(cream::cached_bytes() >= size_t{64} << 20 && cream::cached_bytes() <= size_t{72} << 20);
  const at::Tensor newest = mebibytes(8);
  CHECK(cream::cached_bytes() <= size_t{64} << 20);
  cream::release_cached_memory();
}

CHECK_CASE("support: tensors of every size hold what is written to them") {
  cream::use_caching_allocator();
  std::vector<at::Tensor> kept;
  for (int64_t n = 1; n < 3'000'000; n = n * 3 / 2 + 1)
    kept.push_back(at::full({n}, static_cast<float>(n)));
  for (const at::Tensor& t : kept)
    CHECK(t.min().item<float>() == t.numel() && t.max().item<float>() == t.numel());
}
