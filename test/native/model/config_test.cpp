// What config.json means: the forms of transformers 4 and 5, and the defaults of absent keys.
#include "model/config.h"
#include "check.h"

using namespace cream;

CHECK_CASE(
    "config: config.json of transformers 4 means what version 5's does, and absent keys mean the "
    "family's defaults") {
  const auto read = [](const std::string& type, const std::string& extra) {
    return config_from_json(R"({"model_type":")" + type +
                                R"(","vocab_size":200000,"hidden_size":64,"intermediate_size":96,)"
                                R"("num_hidden_layers":7,)"
                                R"("num_attention_heads":8)" +
                                extra + "}",
                            "FILE");
  };
  const auto same = [&](const std::string& type, const std::string& four, const std::string& five) {
    CHECK(read(type, four) == read(type, five));
  };
  same("llama",
       R"(,"rope_theta":500000.0,"rope_scaling":{"factor":8.0,"low_freq_factor":1.0,)"
       R"("high_freq_factor":4.0,"original_max_position_embeddings":8192,)"
       R"("rope_type":"llama3"})",
       R"(,"rope_parameters":{"rope_theta":500000.0,"factor":8.0,"low_freq_factor":1.0,)"
       R"("high_freq_factor":4.0,"original_max_position_embeddings":8192,)"
       R"("rope_type":"llama3"})");
  same("llama", R"(,"rope_scaling":{"type":"linear","factor":2.0})",
       R"(,"rope_parameters":{"rope_type":"linear","rope_theta":10000.0,"factor":2.0})");
  same("qwen2", R"(,"use_sliding_window":true,"sliding_window":32,"max_window_layers":5)",
       R"(,"use_sliding_window":true,"sliding_window":32,"layer_types":["full_attention",)"
       R"("full_attention","full_attention","full_attention","full_attention",)"
       R"("sliding_attention","sliding_attention"])");
  same("gemma3_text",
       R"(,"rope_theta":1000000.0,"rope_local_base_freq":20000.0,)"
       R"("rope_scaling":{"rope_type":"linear","factor":8.0},"sliding_window_pattern":3,)"
       R"("sliding_window":512)",
       R"(,"rope_parameters":{"full_attention":{"rope_type":"linear","factor":8.0,)"
       R"("rope_theta":1000000.0},"sliding_attention":{"rope_type":"default",)"
       R"("rope_theta":20000.0}},)"
       R"("layer_types":["sliding_attention","sliding_attention","full_attention",)"
       R"("sliding_attention","sliding_attention","full_attention","sliding_attention"],)"
       R"("sliding_window":512)");
  const std::string factors = R"("short_factor":[1,1,1],"long_factor":[2,3,4])";
  same("phi3",
       R"(,"original_max_position_embeddings":4096,"max_position_embeddings":131072,)"
       R"("partial_rotary_factor":0.75,"rope_scaling":{"type":"su",)" +
           factors + "}",
       R"(,"original_max_position_embeddings":4096,"max_position_embeddings":131072,)"
       R"("rope_parameters":{"rope_type":"longrope","rope_theta":10000.0,)"
       R"("partial_rotary_factor":0.75,)"
       R"("original_max_position_embeddings":4096,)" +
           factors + "}");

  const ModelConfig phi =
      read("phi3", R"(,"max_position_embeddings":131072,"rope_scaling":{"type":"longrope",)"
                   R"("short_factor":[1,1,1,1],"long_factor":[2,3,4,5]})");
  CHECK(phi.context() == 4096 && phi.max_position_embeddings == 131072 && phi.num_kv_heads == 8 &&
        phi.eos_token_ids == std::vector<int64_t>{32000});
  const ModelConfig mistral = read("mistral", ""),
                    unlimited = read("mistral", R"(,"sliding_window":null)");
  CHECK(mistral.sliding_window == 4096 && mistral.layer(6).sliding && mistral.num_kv_heads == 8 &&
        mistral.max_position_embeddings == 131072);
  CHECK(unlimited.sliding_window == 0 && unlimited.layers.empty());
  const ModelConfig qwen = read("qwen3", "");
  CHECK(qwen.head_dim == 128 && qwen.qk_norm == QkNorm::per_head && !qwen.qkv_bias &&
        qwen.layers.empty() && qwen.bos_token_id == -1 && qwen.eos_token_ids.empty());
  CHECK(read("qwen2", "").qkv_bias && !read("qwen2", "").output_bias &&
        read("qwen2", "").head_dim == 8);
  const ModelConfig gemma = read("gemma2", ""),
                    uncapped = read("gemma2", R"(,"final_logit_softcapping":null)");
  CHECK(gemma.head_dim == 256 && gemma.attention_softcap == 50 && gemma.final_softcap == 30 &&
        gemma.tie_word_embeddings && gemma.norm_offset == 1);
  CHECK(gemma.layer(0).sliding && !gemma.layer(1).sliding && gemma.attention_scale() == 1.0 / 16 &&
        gemma.bos_token_id == 2);
  CHECK(uncapped.final_softcap == 0 && uncapped.attention_softcap == 50);
  const ModelConfig smol = read("smollm3", "");
  CHECK(smol.rope.theta == 2e6 && smol.layer(0).rope && !smol.layer(3).rope &&
        !smol.layer(3).sliding && smol.num_kv_heads == 4 && smol.tie_word_embeddings);
}
