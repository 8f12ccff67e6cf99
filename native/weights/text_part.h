// The text part of a multimodal checkpoint (Gemma 3, Mistral 3): the tensors of its language model
// under the names of a text model's file. The tensors of the vision part are left out.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "weights/reader.h"

namespace cream {

class TextPart : public WeightsReader {
 public:
  // `whole` outlives this.
  explicit TextPart(const WeightsReader& whole);
  // Whether the file's names are those of a multimodal checkpoint.
  static bool is_in(const WeightsReader& whole);

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  void read_into(const std::string& name, Tensor out) const override;
  // A sentence that names the parts that are left out; empty if there are none.
  std::string note() const;

 private:
  const WeightsReader& whole_;
  std::vector<TensorInfo> tensors_;           // sorted by name
  std::map<std::string, std::string> names_;  // for each of them its name in the file
  std::map<std::string, int64_t> left_out_;   // the number of tensors of each other part
};

}  // namespace cream
