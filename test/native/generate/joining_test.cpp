// Requests that are decoded together: they join and leave at any step, with the bits that each has
// alone; errors and cancels end one of them; the order of an engine's work.
#include <algorithm>
#include <future>
#include <map>

#include "completions.h"
#include "fast_ops.h"
#include "golden.h"
#include "ops/dispatch.h"
#include "test_device.h"
#include "tiny_model.h"
#include "trainer_params.h"

#include "check.h"  // last: a torch header above defines a CHECK of its own

using namespace cream;

namespace {

// What a request delivered.
struct Outcome {
  std::vector<GeneratedCompletion> completions;
  std::map<std::pair<uint32_t, uint32_t>, Tokens> streamed;  // by prompt and sample
  GenerationEnd end;
  int ends = 0;
};
using OutcomePtr = std::shared_ptr<Outcome>;

GenerationCallbacks into(const OutcomePtr& outcome) {
  GenerationCallbacks callbacks;
  callbacks.on_completion = [outcome](GeneratedCompletion&& completion) {
    CHECK(outcome->ends == 0);
    outcome->completions.push_back(std::move(completion));
  };
  callbacks.on_tokens = [outcome](std::vector<StreamedToken>&& tokens) {
    CHECK(outcome->ends == 0);
    for (const auto& token : tokens)
      outcome->streamed[{token.prompt_index, token.sample}].push_back(token.token);
  };
  callbacks.on_end = [outcome](const GenerationEnd& end) {
    ++outcome->ends;
    outcome->end = end;
    std::sort(outcome->completions.begin(), outcome->completions.end(),
              [](const auto& a, const auto& b) {
                return std::tie(a.prompt_index, a.sample) < std::tie(b.prompt_index, b.sample);
              });
  };
  return callbacks;
}

// A model with its generator, driven step by step.
struct Run {
  explicit Run(const Transformer& model) : generator(model, steps) {}

  OutcomePtr add(GenerationRequest request, std::shared_ptr<const Cancel> cancel = nullptr,
                 int64_t most_rows = 0) {
    auto outcome = std::make_shared<Outcome>();
    request.stream_tokens = true;
    if (!cancel) cancel = std::make_shared<Cancel>();
    generator.add({std::move(request), most_rows}, into(outcome), std::move(cancel));
    return outcome;
  }
  void finish() {
    while (generator.step()) {
    }
  }

  uint64_t steps = 0;
  Generator generator;
};

std::vector<GeneratedCompletion> alone(const Transformer& model, const GenerationRequest& request) {
  Run run(model);
  const OutcomePtr outcome = run.add(request);
  run.finish();
  CHECK(outcome->ends == 1 && !outcome->end.error);
  return outcome->completions;
}

// Tokens equal, log-probs to `tolerance`; the streamed tokens are those of the completions.
void check_same(const Outcome& outcome, const std::vector<GeneratedCompletion>& expected,
                double tolerance = 0) {
  CHECK(outcome.ends == 1 && !outcome.end.error);
  CHECK(outcome.completions.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const GeneratedCompletion &a = outcome.completions[i], &b = expected[i];
    CHECK(a.prompt_index == b.prompt_index && a.sample == b.sample && a.finish == b.finish);
    CHECK(a.tokens == b.tokens && outcome.streamed.at({a.prompt_index, a.sample}) == a.tokens);
    for (size_t t = 0; t < a.logprobs.size(); ++t)
      CHECK(std::abs(a.logprobs[t] - b.logprobs[t]) <= tolerance);
  }
}

// Requests of every kind of sampling, several prompts and samples, ends by ids and by strings.
std::vector<GenerationRequest> mixed() {
  std::vector<GenerationRequest> all;
  for (const auto& lengths :
       std::vector<std::vector<int64_t>>{{1, 15, 16}, {33, 4}, {17}, {5, 5, 5, 9}, {20}})
    all.push_back(check::ragged_request({lengths, 2, 20}));
  all[0].seed = 1;
  all[1].sampling.temperature = 0, all[1].sampling.stop_ids = {};
  all[2].sampling.temperature = 0.7, all[2].sampling.top_p = 0.8, all[2].prompts[0].samples = 5;
  all[3].sampling.top_k = 5, all[3].sampling.min_new_tokens = 8, all[3].iteration = 3;
  for (int32_t id = 0; id < 30; ++id) all[3].sampling.stop_ids.push_back(3 * id);
  check::spell(all[4]);
  all[4].sampling.stop_strings = {"b", "ca"}, all[4].sampling.min_new_tokens = 3;
  return all;
}

// Every request joins `apart` steps after the one before it.
void check_joined(const Transformer& model, int apart, double tolerance) {
  std::vector<OutcomePtr> outcomes;
  Run run(model);
  for (const GenerationRequest& request : mixed()) {
    outcomes.push_back(run.add(request));
    for (int step = 0; step < apart; ++step) run.generator.step();
  }
  run.finish();
  for (size_t i = 0; i < outcomes.size(); ++i)
    check_same(*outcomes[i], alone(model, mixed()[i]), tolerance);
}

GenerationRequest one(uint64_t seed, int64_t tokens, int64_t length = 6) {
  GenerationRequest request = check::ragged_request({{length}, 1, tokens});
  request.sampling.stop_ids = {};
  request.seed = seed;
  return request;
}

std::string message_of(const std::exception_ptr& error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const std::exception& thrown) {
    return thrown.what();
  }
  return "";
}

}  // namespace

CHECK_LEVELS("joining: a request has the bits that it has alone, whenever it joins and leaves") {
  for (const auto dtype : {at::kBFloat16, at::kFloat}) {
    const Transformer model = check::tiny_model({2, true, dtype});
    for (const int apart : {0, 1, 3, 8}) check_joined(model, apart, 0);
  }
}

CHECK_CASE("joining: on a device too, with tables and cache that grow as requests join") {
  for (const auto& shape : check::tiny_shapes()) {
    const Transformer model = check::to_device(check::tiny_model(shape));
    for (const int apart : {0, 1, 4}) check_joined(model, apart, check::allowed(5e-5, 2e-4));
  }
}

CHECK_CASE("joining: requests begin at the next step and share every step") {
  const Transformer cpu = check::tiny_model(), device = check::to_device(cpu);
  for (const Transformer* model : {&cpu, &device}) {
    Run run(*model);
    const OutcomePtr first = run.add(one(1, 30));
    for (int step = 0; step < 5; ++step) run.generator.step();
    CHECK(run.steps == 5);
    std::vector<OutcomePtr> joined;
    for (uint64_t seed = 2; seed < 9; ++seed) joined.push_back(run.add(one(seed, 30)));
    run.finish();
    for (const OutcomePtr& outcome : joined) {
      CHECK(outcome->end.first_step == 5 && outcome->end.last_step == 5 + 29);
      CHECK(outcome->end.stats.decode_steps == 29 && outcome->end.stats.completion_tokens == 30);
    }
    CHECK(first->end.first_step == 0 && first->end.last_step == 29);
    CHECK(run.steps == 34);
  }
}

CHECK_CASE("joining: a long list of samples holds up no request that comes later") {
  const Transformer cpu = check::tiny_model(), device = check::to_device(cpu);
  for (const Transformer* model : {&cpu, &device}) {
    Run run(*model);
    GenerationRequest many = check::ragged_request({{6, 7, 8}, 40, 10});
    many.max_num_seqs = 6, many.sampling.stop_ids = {};
    const OutcomePtr large = run.add(many, nullptr, /*most_rows=*/7);
    for (int step = 0; step < 3; ++step) run.generator.step();
    const OutcomePtr small = run.add(one(3, 12)), other = run.add(one(4, 12));
    run.finish();
    CHECK(small->end.first_step == 3 && small->end.last_step == 3 + 11);
    // On the device a seventh row is free at once; the next one, when a sequence ends.
    CHECK(other->end.first_step <= 3 + 10 && other->end.last_step < 40);
    CHECK(large->completions.size() == 120 && large->end.last_step > 150);
    check_same(*small, alone(*model, one(3, 12)), 5e-5);
  }
}

CHECK_CASE("joining: a cancelled request leaves the others' bits alone") {
  const Transformer cpu = check::tiny_model(), device = check::to_device(cpu);
  for (const Transformer* model : {&cpu, &device}) {
    Run run(*model);
    const auto cancel = std::make_shared<Cancel>(), waiting = std::make_shared<Cancel>();
    GenerationRequest large = check::ragged_request({{20, 9}, 8, 40});
    const OutcomePtr kept = run.add(mixed()[0]), stopped = run.add(large, cancel),
                     also = run.add(mixed()[2]);
    for (int step = 0; step < 6; ++step) run.generator.step();
    CHECK(stopped->ends == 0);
    cancel->request();
    run.generator.step();
    CHECK(stopped->ends == 1 &&
          message_of(stopped->end.error).find("aborted") != std::string::npos);
    const OutcomePtr never = run.add(large, waiting), last = run.add(mixed()[3]);
    waiting->request();
    run.finish();
    CHECK(never->ends == 1 && never->completions.empty() && never->streamed.empty());
    const double tolerance = model == &cpu && ops::fast_path() ? 0 : 5e-5;
    check_same(*kept, alone(*model, mixed()[0]), tolerance);
    check_same(*also, alone(*model, mixed()[2]), tolerance);
    check_same(*last, alone(*model, mixed()[3]), tolerance);
  }
}

CHECK_CASE("joining: an error ends the request that it belongs to") {
  check::TinyShape shape;
  shape.tied = false;
  const Transformer model = check::tiny_model(shape);
  Tensor embedding = model.weights().embedding.weight;  // shares memory with the model
  embedding[90].fill_(NAN);
  const Transformer device = check::to_device(model);
  GenerationRequest sound = one(1, 12);
  for (TokenId& token : sound.prompts[0].tokens) token %= 80;
  sound.sampling.temperature = 0;
  GenerationRequest broken = sound, refused = sound, throwing = sound;
  broken.prompts[0].tokens.push_back(90);
  refused.prompts[0].tokens.clear();
  for (const Transformer* place : {&model, &device}) {
    const auto expected = alone(*place, sound);
    CHECK(std::count(expected[0].tokens.begin(), expected[0].tokens.end(), 90) == 0);
    Run run(*place);
    const OutcomePtr kept = run.add(sound);
    run.generator.step();
    const OutcomePtr failed = run.add(broken);
    CHECK_THROWS(internal, "a sequence is empty", run.add(refused));
    auto thrown = std::make_shared<Outcome>();
    GenerationCallbacks callbacks = into(thrown);
    callbacks.on_progress = [](const Progress& progress) {
      if (progress.tokens == 4) throw std::runtime_error("a callback's");
    };
    run.generator.add({throwing}, callbacks, std::make_shared<Cancel>());
    run.finish();
    CHECK(failed->ends == 1 &&
          message_of(failed->end.error).find("no token has a finite logit") != std::string::npos);
    CHECK(thrown->ends == 1 && message_of(thrown->end.error) == "a callback's");
    check_same(*kept, expected, 5e-5);
  }
}

CHECK_CASE("joining: requests share the pages, wait for them in order, and never exceed them") {
  const Transformer model = check::to_device(check::tiny_model());
  GenerationRequest large = one(5, 30, 33);  // 4 pages
  for (const int64_t pages : {4, 6, 9, 40}) {
    Run run(model);
    std::vector<OutcomePtr> outcomes;
    for (uint64_t seed = 0; seed < 6; ++seed) {
      GenerationRequest request = seed % 2 == 0 ? large : one(seed, 20);  // 4 or 2 pages
      request.seed = seed, request.most_pages = pages;
      outcomes.push_back(run.add(request));
      run.generator.step();
    }
    run.finish();
    for (uint64_t seed = 0; seed < 6; ++seed) {
      GenerationRequest request = seed % 2 == 0 ? large : one(seed, 20);
      request.seed = seed;
      check_same(*outcomes[seed], alone(model, request), 5e-5);
      if (seed > 0) CHECK(outcomes[seed]->end.first_step >= outcomes[seed - 1]->end.first_step);
    }
    // In 4 pages one large request runs at a time, in 40 all at once.
    const uint64_t steps = run.steps;
    CHECK(pages == 40 ? steps <= 5 + 30 : pages > 4 || steps >= 3 * 29);
  }
  // A request that the first one's bounds have no room for has the device to itself.
  Run run(model);
  GenerationRequest small = one(1, 20);
  small.most_pages = 2;
  const OutcomePtr first = run.add(small), second = run.add(large);
  run.finish();
  check_same(*first, alone(model, one(1, 20)), 5e-5);
  check_same(*second, alone(model, large), 5e-5);
  CHECK(second->end.first_step >= first->end.last_step);
}

CHECK_CASE("joining: an engine decodes what is posted together, and keeps the order of all work") {
  const std::string folder = check::golden_path("tiny-gqa-untied");
  const auto request = [](uint64_t seed, int64_t tokens) {
    GenerationRequest made = check::ragged_request({{6}, 1, tokens, 64});
    made.sampling.stop_ids = {}, made.seed = seed;
    return made;
  };
  const SftExample example{{1, 2, 3}, {4, 5, 6}};
  TrainerParams params = check::trainer_params();
  params.optimizer.learning_rate = 0.05;
  const auto train = [&](Engine& engine) {
    const uint64_t trainer = engine.start_trainer(params);
    engine.sft_step(trainer, {example}, Cancel());
    engine.end_trainer(trainer);
  };
  const auto tokens_of = [&](Engine& engine, const GenerationRequest& wanted) {
    return check::completions([&](const GenerationCallbacks& callbacks) {
             check::generated(engine, wanted, callbacks).get();
           })[0]
        .tokens;
  };
  Engine reference;
  reference.load(folder, DType::float32, "cpu", Cancel());
  const Tokens before = tokens_of(reference, request(1, 30));
  train(reference);
  const Tokens after = tokens_of(reference, request(1, 30));
  CHECK(before != after);

  Engine engine;
  engine.load(folder, DType::float32, "cpu", Cancel());
  std::promise<void> open;
  std::shared_future<void> opened(open.get_future());
  engine.post([opened] { opened.wait(); }, [](const Error*) {});
  std::vector<std::future<GenerationEnd>> together, later;
  for (uint64_t seed = 0; seed < 4; ++seed)
    together.push_back(check::generated(engine, request(seed, 30)));
  engine.post([&] { train(engine); }, [](const Error*) {});
  Tokens seen;
  GenerationCallbacks callbacks;
  callbacks.on_completion = [&](GeneratedCompletion&& completion) { seen = completion.tokens; };
  later.push_back(check::generated(engine, request(1, 30), callbacks));
  later.push_back(check::generated(engine, request(2, 30)));
  open.set_value();
  for (auto& future : together) {
    const GenerationEnd ended = future.get();
    CHECK(ended.first_step == 0 && ended.last_step == 29);
  }
  for (auto& future : later) {
    const GenerationEnd ended = future.get();
    CHECK(ended.first_step == 29 && ended.last_step == 58);
  }
  CHECK(seen == after);
  engine.close();
  CHECK_THROWS(disposed, "disposed of", check::generated(engine, request(1, 2)));
}
