// Malicious config.json files.
#include "hostile.h"
#include "model/config.h"
#include "support/json.h"

using namespace cream;
using namespace hostile;

namespace {

const Lie kConfigLies[] = {
    {"another family", R"("model_type":"llama")", R"("model_type":"mixtral")",
     "model_type is \"mixtral\", which this engine does not implement. Use a model of one of these "
     "families: llama, mistral"},
    {"another head", "LlamaForCausalLM", "LlamaForTokenClassification",
     "architectures is \"LlamaForTokenClassification\""},
    {"no layers", R"("num_hidden_layers":1)", R"("num_hidden_layers":0)",
     "num_hidden_layers must be a whole number from 1 to 1024"},
    {"a missing size", R"("hidden_size":8,)", "", "hidden_size is missing"},
    {"a size of 2^63", R"("vocab_size":19)", R"("vocab_size":9223372036854775808)",
     "vocab_size must be a whole number"},
    {"heads that do not share evenly", R"("num_attention_heads":2,"num_key_value_heads":1)",
     R"("num_attention_heads":8,"head_dim":2,"num_key_value_heads":3)",
     "not a multiple of the key-value heads"},
    {"a hidden size that heads cannot cut", R"("num_attention_heads":2)",
     R"("num_attention_heads":3)", "hidden_size is not a multiple of num_attention_heads"},
    {"an odd head, no RoPE pairs", R"("num_attention_heads":2)",
     R"("head_dim":3,"num_attention_heads":2)", "the head size (3) is odd"},
    {"positions without end, a table of terabytes", R"("max_position_embeddings":64)",
     R"("max_position_embeddings":1000000000000)",
     "max_position_embeddings must be a whole number"},
    {"an epsilon below 0", R"("rms_norm_eps":1e-05)", R"("rms_norm_eps":-1)",
     "rms_norm_eps must be a positive number"},
    {"a theta that overflows", "100000.0", "1e999", "number out of range"},
    {"a flag as text", R"("tie_word_embeddings":true)", R"("tie_word_embeddings":"yes")",
     "tie_word_embeddings must be true or false"},
    {"an end token outside the vocabulary", R"("eos_token_id":2)", R"("eos_token_id":[2,19])",
     "eos_token_id must be a whole number from 0 to 18"},
    {"one family under another's name", R"("model_type":"llama")", R"("model_type":"qwen3")",
     "architectures is \"LlamaForCausalLM\" instead of \"Qwen3ForCausalLM\""},
    {"RoPE that nobody knows, transformers 4", R"("rope_theta":100000.0)",
     R"("rope_scaling":{"type":"ntk"})", "rope_scaling.type is \"ntk\""},
    {"RoPE that nobody knows, transformers 5", R"("rope_theta":100000.0)",
     R"("rope_parameters":{"rope_type":"ntk"})", "rope_parameters.rope_type is \"ntk\""},
    {"scaled RoPE without its factor", R"("rope_theta":100000.0)",
     R"("rope_parameters":{"rope_type":"linear"})",
     "rope_parameters.factor is missing, and linear scaling needs it"},
    {"scaled RoPE without its bounds", R"("rope_theta":100000.0)",
     R"("rope_scaling":{"rope_type":"llama3","factor":8.0})",
     "rope_scaling.low_freq_factor is missing"},
    {"a division by zero in llama3 scaling", R"("rope_theta":100000.0)",
     R"("rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":4,)"
     R"("high_freq_factor":4})",
     "high_freq_factor must differ"},
    {"longrope with factors missing", R"("rope_theta":100000.0)",
     R"("rope_scaling":{"rope_type":"longrope","short_factor":[1],"long_factor":[1,2]})",
     "short_factor must list 2 numbers"},
    {"heads rotated in part", R"("rope_theta":100000.0)", R"("partial_rotary_factor":0.5)",
     "partial_rotary_factor is not 1 in a llama model"},
    {"one RoPE a kind of layer", R"("rope_theta":100000.0)",
     R"("rope_parameters":{"full_attention":{"rope_type":"default"}})",
     "rope_parameters.full_attention is present in a llama model"},
    {"an activation that nobody knows", R"("vocab_size":19)",
     R"("vocab_size":19,"hidden_act":"relu")", "hidden_act is \"relu\""},
    {"experts", R"("vocab_size":19)", R"("vocab_size":19,"num_local_experts":8)",
     "num_local_experts asks for experts"},
    {"packed weights", R"("vocab_size":19)", R"("vocab_size":19,"quantization_config":{})",
     "quantization_config is present"},
    {"packed weights of MLX", R"("vocab_size":19)", R"("vocab_size":19,"quantization":{"bits":4})",
     "quantization is present"},
    {"tokens that see what follows", R"("vocab_size":19)", R"("vocab_size":19,"is_causal":false)",
     "is_causal is false"},
    {"one RoPE a kind of layer, transformers 4", R"("rope_theta":100000.0)",
     R"("rope_scaling":{"full_attention":{"rope_type":"linear","factor":8.0}})",
     "rope_scaling.full_attention is present in a llama model"},
    {"RoPE of sliding layers alone", R"("rope_theta":100000.0)",
     R"("rope_parameters":{"sliding_attention":{"rope_type":"default"}})",
     "rope_parameters.sliding_attention is present in a llama model"},
    {"a size twice, two meanings", R"("vocab_size":19)", R"("vocab_size":19,"vocab_size":20)",
     "the key \"vocab_size\" appears twice"},
};

}  // namespace

CHECK_CASE("hostile: lies in config.json") {
  config_from_json(kTinyConfig, "FILE");
  for (const Lie& lie : kConfigLies)
    refused(lie.intent, lie.sentence,
            [&] { config_from_json(replaced(kTinyConfig, lie.from, lie.to), "FILE"); });
  for (const char* text : {"", "nul", "[1,]", "{\"a\" 1}", "01", "1.", "\"\\ud800\"", "\"\\x\"",
                           "{} {}", "\"a\nb\"", "\"", "\"\\u12g4\"", "-", "NaN", "[1"})
    refused(std::string("not JSON: ") + text, "not valid JSON", [&] { parse_json(text, "FILE"); });
  const std::string classifier =
      replaced(kTinyConfig, "LlamaForCausalLM", "LlamaForSequenceClassification");
  CHECK(config_from_json(classifier, "FILE").num_labels == 2);
  const auto labels = [&](const std::string& more) {
    config_from_json(replaced(classifier, "{", "{" + more + ","), "FILE");
  };
  refused("labels in a list", "id2label must be an object with one entry per label",
          [&] { labels(R"("id2label":["good"])"); });
  refused("no label", "id2label must be an object with one entry per label",
          [&] { labels(R"("id2label":{})"); });
  refused("labels without end", "num_labels must be a whole number from 1 to",
          [&] { labels(R"("num_labels":99999999)"); });
  refused("no object", "a JSON object is expected", [&] { config_from_json("[]", "FILE"); });
}

CHECK_CASE("hostile: lies in other families' config.json") {
  const auto config = [](const std::string& type, const std::string& extra) {
    return R"({"model_type":")" + type +
           R"(","vocab_size":19,"hidden_size":16,"intermediate_size":6,"num_hidden_layers":2,)"
           R"("num_attention_heads":2,"num_key_value_heads":1)" +
           extra + "}";
  };
  const auto lie = [&](const std::string& intent, const std::string& type, const std::string& extra,
                       const std::string& sentence) {
    refused(intent, sentence, [&] { config_from_json(config(type, extra), "FILE"); });
  };
  for (const char* type : {"mistral", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3_text", "phi3"})
    config_from_json(config(type, ""), "FILE");
  lie("biases that Mistral lacks", "mistral", R"(,"attention_bias":true)",
      "attention_bias is true in a mistral model");
  lie("biases that Qwen lacks", "qwen3", R"(,"mlp_bias":true)",
      "mlp_bias is true in a qwen3 model");
  lie("a layer too few", "gemma2", R"(,"layer_types":["full_attention"])",
      "layer_types must have one entry for each of the 2 layers");
  lie("a layer of another kind", "qwen2",
      R"(,"layer_types":["full_attention","chunked_attention"])",
      "layer_types has \"chunked_attention\"");
  lie("a window of nothing", "mistral", R"(,"sliding_window":0)",
      "sliding_window must be a whole number from 1");
  lie("sliding without a window", "qwen3",
      R"(,"layer_types":["full_attention","sliding_attention"])",
      "layer_types asks for sliding_attention, but sliding_window gives no window");
  lie("NoPE for too few", "smollm3", R"(,"no_rope_layers":[1])",
      "no_rope_layers must have one entry for each of the 2 layers");
  lie("a gate that is no GeGLU", "gemma2", R"(,"hidden_activation":"gelu")",
      "hidden_activation is \"gelu\"");
  lie("a cap that transformers ignores", "gemma3_text", R"(,"attn_logit_softcapping":50.0)",
      "attn_logit_softcapping is set");
  lie("RoPE for all beside RoPE by kind", "gemma3_text",
      R"(,"rope_parameters":{"full_attention":{"rope_type":"default"},"factor":8.0})",
      "rope_parameters.factor stands beside full_attention and sliding_attention");
  lie("RoPE by kind within a kind", "gemma3_text",
      R"(,"rope_parameters":{"full_attention":{"sliding_attention":{"factor":8.0}}})",
      "rope_parameters.full_attention.sliding_attention is set");
  lie("looking ahead", "gemma3_text", R"(,"use_bidirectional_attention":true)",
      "use_bidirectional_attention is true");
  lie("half a pair rotated", "phi3", R"(,"partial_rotary_factor":0.4)",
      "partial_rotary_factor rotates 3 of 8 entries");
  lie("Gemma 3 without its text", "gemma3", "", "text_config is missing");
  lie("Gemma 3 with another text", "gemma3", R"(,"text_config":{"model_type":"t5"})",
      "text_config.model_type is \"t5\"");
}
