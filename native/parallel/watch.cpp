#include "parallel/watch.h"

#include <unistd.h>

#include <cstdio>

namespace cream {
namespace {

constexpr const char* kLost = "lost";

std::string beat_key(int rank) { return "beat/" + std::to_string(rank); }

}  // namespace

Watch::Watch(StorePtr store, const RankEnvironment& place, const RankTimes& times)
    : store_(std::move(store)), place_(place), times_(times) {
  beating_ = std::thread([this] { beat(); });
  listening_ = std::thread([this] { listen(); });
}

void Watch::end() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  wake_.notify_all();
  if (beating_.joinable()) beating_.join();
  if (listening_.joinable()) listening_.join();
}

bool Watch::sleep() {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, times_.beat, [this] { return ended_; });
}

// Empty for a rank that has not beaten yet: it may have ended before its first beat.
std::vector<std::string> Watch::values_of(const std::vector<std::string>& keys) {
  std::vector<std::string> values(keys.size());
  if (store_->check(keys)) {
    const auto found = store_->multiGet(keys);
    for (size_t i = 0; i < keys.size(); ++i) values[i] = text_of(found[i]);
  } else {
    for (size_t i = 0; i < keys.size(); ++i)
      if (store_->check({keys[i]})) values[i] = text_of(store_->get(keys[i]));
  }
  return values;
}

// Counts its own beats, not seconds, so that no rank counts as lost after this machine slept.
void Watch::look_at(const std::vector<std::string>& keys, std::vector<std::string>& seen,
                    std::vector<int>& missed) {
  const std::vector<std::string> values = values_of(keys);
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string& now = values[i];
    missed[i] = now == seen[i] ? missed[i] + 1 : 0;
    seen[i] = now;
    if (missed[i] < times_.lost_beats) continue;
    const int rank = place_.rank == 0 ? static_cast<int>(i) + 1 : 0;
    const std::string what = "rank " + std::to_string(rank) + " of " + std::to_string(place_.size) +
                             " has not been heard of for " +
                             std::to_string(times_.lost_beats * times_.beat.count() / 1000) +
                             " s: it has ended, or the network between the machines fails";
    if (place_.rank == 0) {
      store_->set(kLost, std::vector<uint8_t>(what.begin(), what.end()));
      std::this_thread::sleep_for(
          3 * times_.beat);  // this process may hold the store, which the others still read
    }
    lose(what);
  }
}

void Watch::beat() {
  std::vector<std::string> keys;
  if (place_.rank == 0)
    for (int rank = 1; rank < place_.size; ++rank) keys.push_back(beat_key(rank));
  else
    keys.push_back(beat_key(0));
  std::vector<std::string> seen(keys.size());
  std::vector<int> missed(keys.size(), 0);
  try {
    do {
      store_->add(beat_key(place_.rank), 1);
      beats_.fetch_add(1);
      if (store_->check({kLost})) lose(text_of(store_->get(kLost)));
      look_at(keys, seen, missed);
    } while (sleep());
  } catch (const std::exception&) {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    lose("the store at " + place_.master_address + ":" + std::to_string(place_.master_port) +
         " has closed the connection: rank 0 or its launcher has ended");
  }
}

void Watch::listen() {
  uint64_t seen = 0;
  int missed = 0;
  while (sleep()) {
    const uint64_t now = beats_.load();
    missed = now == seen ? missed + 1 : 0;
    seen = now;
    if (missed >= times_.lost_beats)
      lose("the store at " + place_.master_address + ":" + std::to_string(place_.master_port) +
           " does not answer for " +
           std::to_string(times_.lost_beats * times_.beat.count() / 1000) +
           " s: the network between the machines fails");
  }
}

void Watch::lose(const std::string& what) {
  std::fprintf(stderr,
               "cream: Rank %d ends because %s. What was finished is saved: start the run again in "
               "the same way, unless torchrun does, and it goes on from there.\n",
               place_.rank, what.c_str());
  std::fflush(stderr);
  _exit(1);  // no destructor: one of them would wait for the collective operation
}

}  // namespace cream
