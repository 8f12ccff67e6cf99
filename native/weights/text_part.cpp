#include "weights/text_part.h"

#include <algorithm>

#include "support/json.h"
#include "weights/extent.h"

namespace cream {

namespace {

// Prefixes that transformers 4 and 5 put before the language model's names, and their replacements.
constexpr std::pair<std::string_view, std::string_view> kPrefixes[] = {
    {"language_model.model.", "model."},
    {"language_model.lm_head.", "lm_head."},
    {"model.language_model.", "model."}};

constexpr std::string_view kOtherParts[] = {"vision_tower.", "multi_modal_projector.",
                                            "model.vision_tower.", "model.multi_modal_projector."};

std::string text_name(const std::string& name) {
  for (const auto& [prefix, instead] : kPrefixes)
    if (name.starts_with(prefix)) return std::string(instead) + name.substr(prefix.size());
  return name;
}

}  // namespace

bool TextPart::is_in(const WeightsReader& whole) {
  return std::any_of(whole.tensors().begin(), whole.tensors().end(),
                     [](const TensorInfo& info) { return text_name(info.name) != info.name; });
}

TextPart::TextPart(const WeightsReader& whole) : whole_(whole) {
  for (const TensorInfo& info : whole.tensors()) {
    const auto other =
        std::find_if(std::begin(kOtherParts), std::end(kOtherParts),
                     [&](std::string_view prefix) { return info.name.starts_with(prefix); });
    if (other != std::end(kOtherParts)) {
      ++left_out_[std::string(other->substr(0, other->size() - 1))];
      continue;
    }
    TensorInfo& text = tensors_.emplace_back(info);
    text.name = text_name(info.name);
    if (!names_.emplace(text.name, info.name).second)
      bad_file("The model", "the tensor " + quote(text.name) + " is there under two names.");
  }
  std::sort(tensors_.begin(), tensors_.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
}

void TextPart::read_into(const std::string& name, Tensor out) const {
  const auto found = names_.find(name);
  whole_.read_into(found == names_.end() ? name : found->second, std::move(out));
}

std::string TextPart::note() const {
  std::string parts;
  for (const auto& [part, tensors] : left_out_)
    parts += (parts.empty() ? "" : ", ") + part + " (" + std::to_string(tensors) + " tensors)";
  return parts.empty() ? "" : "Only the text part of this model is used; left out: " + parts + ".";
}

}  // namespace cream
