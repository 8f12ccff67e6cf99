// Gloo's headers come with Debian's libgloo-dev; its code is part of libtorch_cpu. Only c10d's own
// classes are used, so that the headers may be older than the Gloo in libtorch.
#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif

#include "parallel/backends.h"
#include "parallel/ranks.h"

namespace cream {

#ifdef USE_C10D_GLOO

bool built_with_gloo() { return true; }

BackendPtr make_gloo(const StorePtr& store, const RankEnvironment& place,
                     std::chrono::milliseconds timeout) {
  using c10d::ProcessGroupGloo;
  const std::string& master = place.master_address;
  const bool here = master == "localhost" || master == "::1" || master.rfind("127.", 0) == 0;
  // GLOO_SOCKET_IFNAME chooses the interface, as in PyTorch; else the machine's own name does.
  c10::intrusive_ptr<ProcessGroupGloo::Options> options;
  if (here) {
    options = ProcessGroupGloo::Options::create(timeout);
    options->devices = {ProcessGroupGloo::createDeviceForHostname("127.0.0.1")};
  } else {
    options = ProcessGroupGloo::Options::create_default(timeout);
  }
  return c10::make_intrusive<ProcessGroupGloo>(store, place.rank, place.size, options);
}

#else

bool built_with_gloo() { return false; }
BackendPtr make_gloo(const StorePtr&, const RankEnvironment&, std::chrono::milliseconds) {
  return {};
}

#endif

}  // namespace cream
