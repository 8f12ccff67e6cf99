// The functions of src/engine/ranks.ts: this process among the ranks of a run.
#pragma once

#include <napi.h>

namespace cream::binding {

void export_ranks(Napi::Env env, Napi::Object exports);

}  // namespace cream::binding
