#include "binding/ranks.h"

#include <unistd.h>

#include <functional>

#include "binding/job.h"
#include "parallel/ranks.h"

namespace cream::binding {

namespace {

// → {rank, size, localRank, localSize}
Napi::Value get_place(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const RankEnvironment place = rank_environment();
    Napi::Object object = Napi::Object::New(info.Env());
    object["rank"] = place.rank;
    object["size"] = place.size;
    object["localRank"] = place.local_rank;
    object["localSize"] = place.local_size;
    return object;
  });
}

// → {gloo, nccl}
Napi::Value get_groups(const Napi::CallbackInfo& info) {
  Napi::Object object = Napi::Object::New(info.Env());
  object["gloo"] = built_with_gloo();
  object["nccl"] = built_with_nccl();
  return object;
}

// () → job; afterwards the trainers of this process are those of all ranks.
Napi::Value join(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Job::start(
        info.Env(), std::make_shared<Engine>(),
        [](Job&) { set_current_ranks(join_ranks(rank_environment())); },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

Ranks& joined(const std::shared_ptr<Ranks>& ranks) {
  if (!ranks) throw Error(ErrorCode::disposed, "[ranks] this process has left the other ranks.");
  return *ranks;
}

// A question to the store → job of a string, or null.
using Ask = std::function<std::optional<std::string>(Ranks&)>;
Napi::Value asked(const Napi::CallbackInfo& info, Ask ask) {
  return guarded(info.Env(), [&] {
    auto answer = std::make_shared<std::optional<std::string>>();
    return Job::start(
        info.Env(), std::make_shared<Engine>(),
        [ask = std::move(ask), answer](Job&) { *answer = ask(joined(current_ranks())); },
        [answer](Napi::Env env) -> Napi::Value {
          if (!*answer) return env.Null();
          return Napi::String::New(env, **answer);
        });
  });
}

std::string text(const Napi::CallbackInfo& info, size_t i) { return info[i].As<Napi::String>(); }

// (key, value)
Napi::Value set(const Napi::CallbackInfo& info) {
  return asked(info, [key = text(info, 0), value = text(info, 1)](Ranks& ranks) {
    ranks.set(key, value);
    return std::nullopt;
  });
}

// (key, milliseconds) → the value; null where it is not set within the time
Napi::Value await(const Napi::CallbackInfo& info) {
  const std::chrono::milliseconds time(info[1].As<Napi::Number>().Int64Value());
  return asked(info, [key = text(info, 0), time](Ranks& ranks) {
    return time.count() == 0 ? ranks.get(key) : ranks.await(key, time);
  });
}

// (key, number) → the sum, as a string
Napi::Value add(const Napi::CallbackInfo& info) {
  const int64_t value = info[1].As<Napi::Number>().Int64Value();
  return asked(info, [key = text(info, 0), value](Ranks& ranks) {
    return std::to_string(ranks.add(key, value));
  });
}

// (key)
Napi::Value remove(const Napi::CallbackInfo& info) {
  return asked(info, [key = text(info, 0)](Ranks& ranks) {
    ranks.remove(key);
    return std::nullopt;
  });
}

// (queue, value)
Napi::Value push(const Napi::CallbackInfo& info) {
  return asked(info, [queue = text(info, 0), value = text(info, 1)](Ranks& ranks) {
    ranks.push(queue, value);
    return std::nullopt;
  });
}

// (queue) → its first value; null where it is empty
Napi::Value pop(const Napi::CallbackInfo& info) {
  return asked(info, [queue = text(info, 0)](Ranks& ranks) { return ranks.pop(queue); });
}

void leave(const Napi::CallbackInfo&) {
  if (const auto ranks = current_ranks()) ranks->leave();
  set_current_ranks(nullptr);
}

// (code): ends the process at once. Its threads may be in an operation that never ends, for which
// an ordinary exit would wait.
void end_process(const Napi::CallbackInfo& info) { _exit(info[0].As<Napi::Number>().Int32Value()); }

}  // namespace

void export_ranks(Napi::Env env, Napi::Object exports) {
  exports["rankPlace"] = Napi::Function::New<get_place>(env, "rankPlace");
  exports["processGroups"] = Napi::Function::New<get_groups>(env, "processGroups");
  exports["joinRanks"] = Napi::Function::New<join>(env, "joinRanks");
  exports["storeSet"] = Napi::Function::New<set>(env, "storeSet");
  exports["storeAwait"] = Napi::Function::New<await>(env, "storeAwait");
  exports["storeAdd"] = Napi::Function::New<add>(env, "storeAdd");
  exports["storeRemove"] = Napi::Function::New<remove>(env, "storeRemove");
  exports["storePush"] = Napi::Function::New<push>(env, "storePush");
  exports["storePop"] = Napi::Function::New<pop>(env, "storePop");
  exports["leaveRanks"] = Napi::Function::New<leave>(env, "leaveRanks");
  exports["endProcess"] = Napi::Function::New<end_process>(env, "endProcess");
}

}  // namespace cream::binding
