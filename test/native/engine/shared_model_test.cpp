#include "engine/shared_model.h"

#include "adapted.h"
#include "score/scorer.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using namespace cream;

CHECK_CASE("lora: snapshots share the base, count it once, and copy the adapter alone") {
  const uint64_t before = live_weight_bytes();
  {
    const auto base = std::make_shared<SharedModel>(check::tiny_model());
    const uint64_t base_bytes = live_weight_bytes() - before;
    const LoraParams params = resolve_lora(base->transformer.config(), {3, 6, 0, false, {}});
    const auto first =
        base->with_adapter(params, new_adapter(base->transformer.config(), params, 1));
    const uint64_t adapter_bytes = live_weight_bytes() - before - base_bytes;
    CHECK(adapter_bytes > 0 && adapter_bytes < base_bytes / 2);
    const auto second = first->copy_adapter();
    CHECK(live_weight_bytes() - before == base_bytes + 2 * adapter_bytes);
    const auto storage = [](const auto& model) {
      return model->transformer.weights().layers[1].qkv.weight.const_data_ptr();
    };
    const auto down = [](const auto& model) {
      return model->transformer.weights().layers[1].qkv.adapters[0].down.weight.const_data_ptr();
    };
    CHECK(storage(first) == storage(base) && storage(second) == storage(base) &&
          down(first) != down(second));
    CHECK(base->shares_base() && !first->without_adapter()->lora());
    const auto apart = second->copy();
    CHECK(storage(apart) != storage(base) && !apart->shares_base() && apart->lora());
    CHECK(at::equal(sequence_logits(apart->transformer, check::tiny_tokens(5, 1)),
                    sequence_logits(first->transformer, check::tiny_tokens(5, 1))));
  }
  CHECK(live_weight_bytes() == before);
}
