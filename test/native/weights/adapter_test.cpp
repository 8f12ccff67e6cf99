// Adapters in PEFT's format: written and read again, and refused by the name of a key or tensor.
#include "weights/adapter.h"

#include "adapted.h"
#include "golden.h"
#include "model_files.h"
#include "support/file.h"
#include "weights/load.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using namespace cream;
using model_files::TemporaryFolder;

CHECK_CASE("adapter: PEFT's format comes back as it was saved, in each dtype") {
  check::Adapted a = check::adapted();
  const LoraParams params = *a.model.weights().lora;
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const TemporaryFolder folder;
    save_adapter(folder.path(), {params, "some/base"}, a.masters, dtype);
    const AdapterConfig config = read_adapter_config(folder.path());
    CHECK(config.base_model == "some/base" && config.params.rank == 3 && config.params.alpha == 7 &&
          config.params.targets == params.targets);
    const AdapterTensors read =
        read_adapter_tensors(folder.path(), adapter_layout(a.model.config(), params));
    for (size_t i = 0; i < read.size(); ++i)
      CHECK(read[i].first == a.masters[i].first &&
            at::equal(read[i].second, a.masters[i].second.to(dtype).to(at::kFloat)));
  }
}

CHECK_CASE(
    "adapter: an adapter for another base, or with tensors missing or too many, is refused by the "
    "tensor's name") {
  check::Adapted a = check::adapted();
  const ModelConfig& config = a.model.config();
  const LoraParams params = *a.model.weights().lora;
  const TemporaryFolder folder;
  save_adapter(folder.path(), {params, ""}, a.masters, at::kFloat);
  ModelConfig wide = config;
  wide.hidden_size = 128;
  CHECK_THROWS(invalid_file,
               "layers.0.self_attn.q_proj.lora_A.weight\" has shape [3, 64], this base model asks "
               "for [3, 128]",
               read_adapter_tensors(folder.path(), adapter_layout(wide, params)));
  ModelConfig deep = config;
  deep.num_layers = 4;
  CHECK_THROWS(invalid_file, "layers.3.self_attn.q_proj.lora_A.weight\" is missing",
               read_adapter_tensors(folder.path(), adapter_layout(deep, params)));
  const LoraParams fewer = resolve_lora(config, {3, 7, 0, false, {"q_proj"}});
  CHECK_THROWS(invalid_file, "layers.0.mlp.down_proj.lora_A.weight\" has no place",
               read_adapter_tensors(folder.path(), adapter_layout(config, fewer)));
  CHECK_THROWS(not_found, "", read_adapter_config(folder.path() + "/none"));
}

CHECK_CASE("adapter: what is not plain LoRA is refused by its key") {
  const auto parse = [](const std::string& more) {
    return parse_adapter_config(
        R"({"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"])" + more + "}",
        "a.json");
  };
  CHECK(parse(R"(,"layers_to_transform":null,"rank_pattern":{},"use_dora":false,)"
              R"("megatron_core":"megatron.core")")
            .params.rank == 4);
  CHECK_THROWS(unsupported, "a.json: use_dora is set", parse(R"(,"use_dora":true)"));
  CHECK_THROWS(unsupported, "modules_to_save", parse(R"(,"modules_to_save":["lm_head"])"));
  CHECK_THROWS(unsupported, "rank_pattern", parse(R"(,"rank_pattern":{"q_proj":8})"));
  CHECK_THROWS(unsupported, "layers_to_transform", parse(R"(,"layers_to_transform":[0])"));
  CHECK_THROWS(unsupported, "layers_to_transform", parse(R"(,"layers_to_transform":0)"));
  CHECK_THROWS(unsupported, "init_lora_weights is \"later\"",
               parse(R"(,"init_lora_weights":"later")"));
  CHECK_THROWS(unsupported, "some_future_variant", parse(R"(,"some_future_variant":{"a":1})"));
  CHECK_THROWS(unsupported, "bias is not \"none\"", parse(R"(,"bias":"all")"));
  CHECK_THROWS(unsupported, "init_lora_weights is \"pissa_niter_4\"",
               parse(R"(,"init_lora_weights":"pissa_niter_4")"));
  const auto whole = [](const std::string& json) { return parse_adapter_config(json, "a.json"); };
  CHECK_THROWS(unsupported, "peft_type is \"IA3\"", whole(R"({"peft_type":"IA3"})"));
  CHECK_THROWS(invalid_file, "peft_type is missing", whole("{}"));
  CHECK_THROWS(invalid_file, "r must be a whole number",
               whole(R"({"peft_type":"LORA","r":0,"target_modules":["q_proj"]})"));
  CHECK_THROWS(invalid_file, "target_modules is missing", whole(R"({"peft_type":"LORA","r":1})"));
  CHECK(whole(R"({"peft_type":"LORA","r":1,"target_modules":".*q_proj"})").target_pattern ==
        ".*q_proj");
  CHECK_THROWS(
      unsupported, "a part of the layers",
      whole(R"({"peft_type":"LORA","r":1,"target_modules":["model.layers.1.self_attn.q_proj"]})"));
  CHECK_THROWS(unsupported, "a part of the layers",
               whole(R"({"peft_type":"LORA","r":1,"target_modules":["model.layers.0.mlp.up_proj",)"
                     R"("model.layers.1.mlp.up_proj","model.layers.1.mlp.down_proj"]})"));
  CHECK_THROWS(unsupported, "a part of the layers",
               whole(R"({"peft_type":"LORA","r":1,"target_modules":["vision.layers.0.q_proj"]})"));
  CHECK((whole(R"({"peft_type":"LORA","r":1,"target_modules":["model.layers.1.mlp.up_proj",)"
               R"("model.layers.0.self_attn.q_proj","model.layers.1.self_attn.q_proj",)"
               R"("model.layers.0.mlp.up_proj"]})")
             .params.targets == std::vector<std::string>{"up_proj", "q_proj"}));
  CHECK_THROWS(unsupported, "alora_invocation_tokens", parse(R"(,"alora_invocation_tokens":[1])"));
  CHECK(
      whole(R"({"peft_type":"LORA","r":1,"target_modules":"all-linear"})").params.targets.empty());
  CHECK((whole(R"({"peft_type":"LORA","r":1,"target_modules":["self_attn.q_proj","mlp.up_proj"]})")
             .params.targets == std::vector<std::string>{"q_proj", "up_proj"}));
}

CHECK_CASE("adapter: a pattern of target modules means the modules that have tensors") {
  check::Adapted a = check::adapted();
  const LoraParams params = *a.model.weights().lora;
  const TemporaryFolder folder;
  save_adapter(folder.path(), {params, ""}, a.masters, at::kFloat);
  const std::string path = folder.path() + "/adapter_config.json";
  write_file_atomic(path, R"({"peft_type":"LORA","r":3,"lora_alpha":7,)"
                          R"("target_modules":"model\\.layers\\.\\d+\\.(mlp|self_attn)\\..*"})");
  const LoraParams read = resolve_lora(a.model.config(), read_adapter_config(folder.path()).params);
  CHECK(read.targets == params.targets);
  const NamedTensors tensors =
      read_adapter_tensors(folder.path(), adapter_layout(a.model.config(), read));
  CHECK(tensors.size() == a.masters.size() && at::equal(tensors[0].second, a.masters[0].second));
  NamedTensors some;
  for (const auto& [name, tensor] : a.masters)
    if (!name.starts_with("layers.0.")) some.emplace_back(name, tensor);
  save_adapter(folder.path(), {params, ""}, some, at::kFloat);
  write_file_atomic(path, R"({"peft_type":"LORA","r":3,"target_modules":".*layers\\.1.*"})");
  CHECK_THROWS(unsupported, "a part of the layers", read_adapter_config(folder.path()));
}

CHECK_CASE("adapter: loading a model looks at the cancel between its tensors") {
  Cancel cancelled;
  cancelled.request();
  CHECK_THROWS(aborted, "aborted",
               load_weights(check::golden_path("tiny-gqa-untied"), at::kFloat, cancelled));
}
