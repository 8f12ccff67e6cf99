#include "ops/launch.h"
#include "ops/decode_step/cuda.h"
#include "ops/decode_step/op.h"
#include "ops/sample/cuda.h"
#include "support/device.h"

namespace cream::ops {
namespace {

template <class T>
T* to(const Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

}  // namespace

DecodeStep::DecodeStep(int64_t rows, int64_t max_pages, int64_t max_banned, at::Device device) {
  const auto i32 = at::TensorOptions(device).dtype(at::kInt),
             i64 = at::TensorOptions(device).dtype(at::kLong);
  state = at::zeros({rows, static_cast<int64_t>(sizeof(DecodeRow) / sizeof(int64_t))}, i64);
  drawn = at::zeros({2, rows}, i32);
  page_table = at::zeros({rows, max_pages}, i32);
  banned = at::zeros({rows, max_banned}, i32);
  inputs = at::zeros({rows}, i64), positions = at::zeros({rows}, i64);
  pages = at::zeros({rows}, i32), slots = at::zeros({rows}, i32), lengths = at::zeros({rows}, i32);
  draws = at::zeros({rows, 5}, i64);
}

DecodeStep DecodeStep::first(int64_t rows) const {
  DecodeStep part = *this;
  part.drawn = drawn.narrow(1, 0, rows);
  for (Tensor* t : {&part.state, &part.page_table, &part.banned, &part.inputs, &part.positions,
                    &part.pages, &part.slots, &part.lengths, &part.draws})
    *t = t->narrow(0, 0, rows);
  return part;
}

int64_t banned_ids(const SamplingParams& sampling) {
  return sampling.min_new_tokens > 0 ? static_cast<int64_t>(sampling.stop_ids.size()) : 0;
}

void append_state(const NewRow& row, std::vector<int64_t>& words) {
  const SamplingParams& sampling = row.sampling;
  DecodeRow state{};
  state.key = row.key;
  state.temperature = sampling.temperature;
  state.top_p = sampling.top_p;
  state.top_k = sampling.top_k;
  state.min_new_tokens = static_cast<int32_t>(sampling.min_new_tokens);
  state.banned = static_cast<int32_t>(banned_ids(sampling));
  state.prompt_length = static_cast<int32_t>(row.prompt_length);
  words.resize(words.size() + sizeof state / sizeof(int64_t));
  std::memcpy(words.data() + words.size() - sizeof state / sizeof(int64_t), &state, sizeof state);
}

void advance(const DecodeStep& rows, int64_t page_size, bool from_prompt) {
  const at::DeviceGuard guard(rows.state.device());
  const DecodeStepBlock call{to<DecodeRow>(rows.state),
                             data<int32_t>(rows.drawn),
                             data<int32_t>(rows.page_table),
                             from_prompt ? nullptr : to<int64_t>(rows.inputs),
                             to<int64_t>(rows.positions),
                             to<int32_t>(rows.pages),
                             to<int32_t>(rows.slots),
                             to<int32_t>(rows.lengths),
                             to<SampleRow>(rows.draws),
                             rows.size(),
                             rows.page_table.size(1),
                             rows.banned.size(1),
                             page_size};
  check_launch(decode_step_cuda(call, stream_of(rows.state)), "decode_step");
}

void draw(const DecodeStep& rows, const Tensor& logits) {
  const at::DeviceGuard guard(logits.device());
  const Tensor contiguous = logits.contiguous();
  const Tensor scratch =
      at::empty({sample_scratch(rows.size(), logits.size(1))}, logits.options().dtype(at::kByte));
  const SampleCuda call{data<float>(contiguous),
                        static_cast<const SampleRow*>(rows.draws.const_data_ptr()),
                        data<int32_t>(rows.banned),
                        to<int32_t>(rows.drawn),
                        reinterpret_cast<float*>(to<int32_t>(rows.drawn) + rows.drawn.stride(0)),
                        scratch.mutable_data_ptr(),
                        rows.size(),
                        logits.size(1)};
  check_launch(sample_cuda(call, stream_of(logits)), "sample");
}

}  // namespace cream::ops
