#include "parallel/ranks.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <map>

#include "ranks.h"

#include "check.h"

using namespace cream;

namespace {

// Sets torchrun's variables and puts the old ones back.
class Variables {
 public:
  explicit Variables(const std::map<std::string, std::string>& values) {
    for (const char* name :
         {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
          "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT"}) {
      const char* const value = std::getenv(name);
      before_.emplace_back(name, value ? std::optional<std::string>(value) : std::nullopt);
      const auto found = values.find(name);
      found == values.end() ? unsetenv(name) : setenv(name, found->second.c_str(), 1);
    }
  }
  ~Variables() {
    for (const auto& [name, value] : before_)
      value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
  }

 private:
  std::vector<std::pair<std::string, std::optional<std::string>>> before_;
};

std::map<std::string, std::string> torchrun() {
  return {{"RANK", "5"},
          {"WORLD_SIZE", "8"},
          {"LOCAL_RANK", "1"},
          {"MASTER_PORT", "29500"},
          {"LOCAL_WORLD_SIZE", "4"},
          {"MASTER_ADDR", "node-0"}};
}

std::map<std::string, std::string> with(const std::string& name, const std::string& value) {
  auto all = torchrun();
  all[name] = value;
  return all;
}

void collectives(Ranks& ranks) {
  Group& group = ranks.group();
  const int rank = group.rank(), size = group.size();
  const double of_all = size * (size + 1) / 2.0;
  const Tensor sum = at::full({3}, rank + 1.0, at::kDouble);
  group.all_reduce(sum)();
  CHECK_CLOSE(sum, at::full({3}, of_all, at::kDouble), 0);

  const Tensor whole = at::arange(4 * size, at::kFloat) * (rank + 1), shard = at::empty({4});
  group.reduce_scatter(shard, whole)();
  CHECK_CLOSE(shard, at::arange(4 * rank, 4 * rank + 4, at::kFloat) * of_all, 0);

  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kByte}) {
    const Tensor own = at::full({2}, rank + 7, dtype), all = at::empty({2 * size}, dtype);
    group.all_gather(all, own)();
    CHECK_CLOSE(all, at::arange(7, 7 + size, dtype).repeat_interleave(2), 0);
  }
}

}  // namespace

CHECK_CASE("parallel: a place is read from torchrun's variables") {
  {
    const Variables none({});
    CHECK(rank_environment().size == 1);
  }
  {
    const Variables one({{"WORLD_SIZE", "1"}, {"RANK", "0"}});
    CHECK(rank_environment().size == 1);
  }
  auto all = torchrun();
  all["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  all["TORCHELASTIC_RESTART_COUNT"] = "2";
  const Variables set(all);
  const RankEnvironment place = rank_environment();
  CHECK(place.rank == 5 && place.size == 8 && place.local_rank == 1 && place.local_size == 4);
  CHECK(place.master_address == "node-0" && place.master_port == 29500);
  CHECK(place.agent_store && place.attempt == 2);
}

CHECK_CASE("parallel: a wrong or missing variable is named") {
  for (const auto& [name, value] : std::map<std::string, std::string>{{"RANK", "8"},
                                                                      {"RANK ", ""},
                                                                      {"WORLD_SIZE", "two"},
                                                                      {"MASTER_PORT", "0"},
                                                                      {"MASTER_ADDR", ""},
                                                                      {"LOCAL_RANK", "-1"},
                                                                      {"LOCAL_RANK ", "4"},
                                                                      {"LOCAL_WORLD_SIZE", "0"},
                                                                      {"LOCAL_WORLD_SIZE ", "9"},
                                                                      {"LOCAL_WORLD_SIZE  ", "1"},
                                                                      {"LOCAL_WORLD_SIZE   ", ""},
                                                                      {"WORLD_SIZE ", "0"},
                                                                      {"WORLD_SIZE  ", "1"},
                                                                      {"WORLD_SIZE   ", ""}}) {
    const std::string of = name.substr(0, name.find(' '));
    const Variables set(with(of, value));
    CHECK_THROWS(invalid_argument, of, rank_environment());
  }
}

CHECK_CASE("parallel: shards cover a tensor in whole blocks") {
  const int64_t ends[] = {512, 1000, 1000};
  for (int rank = 0; rank < 3; ++rank) {
    const Shard shard = shard_of(1000, 256, rank, 3);
    CHECK(shard.stride == 512 && shard.end == ends[rank]);
    CHECK(shard.begin == std::min<int64_t>(1000, rank * 512));
  }
  const Shard all = shard_of(1000, 256, 0, 1);
  CHECK(all.begin == 0 && all.end == 1000);
}

CHECK_CASE("parallel: two ranks add, scatter and gather") {
  check::on_ranks("parallel: two ranks add, scatter and gather", 2, collectives);
}

CHECK_CASE("parallel: four ranks add, scatter and gather") {
  check::on_ranks("parallel: four ranks add, scatter and gather", 4, collectives);
}

CHECK_CASE("parallel: four ranks share a counter, keys and queues") {
  check::on_ranks("parallel: four ranks share a counter, keys and queues", 4, [](Ranks& ranks) {
    const int rank = ranks.place().rank;
    CHECK(!ranks.get("absent") && !ranks.pop("empty"));
    CHECK(!ranks.await("absent", std::chrono::milliseconds(10)));
    int64_t taken = 0;
    while (ranks.add("counter", 1) <= 40) ++taken;
    ranks.push("results", std::to_string(taken));
    if (rank == 0) {
      int64_t sum = 0;
      for (int got = 0; got < 4;) {
        const auto text = ranks.pop("results");
        if (!text) continue;
        sum += std::stoll(*text);
        ++got;
      }
      ranks.set("sum", std::to_string(sum));
    }
    CHECK(ranks.await("sum", std::chrono::minutes(5)) == "40");
  });
}

CHECK_CASE("parallel: a rank that is killed ends the others with a sentence") {
  const auto outcomes = check::outcomes_of(
      "parallel: a rank that is killed ends the others with a sentence", 3, [](Ranks& ranks) {
        if (ranks.place().rank == 1) raise(SIGKILL);
        ranks.await("never", std::chrono::minutes(10));
      });
  if (outcomes.empty()) return;  // in a rank
  CHECK(outcomes[1].code == -SIGKILL);
  CHECK(outcomes[0].code == 1 && outcomes[2].code == 1);
  for (const int rank : {0, 2})
    CHECK(outcomes[rank].output.find("ends because rank 1 of 3 has not been heard of for 5 s") !=
          std::string::npos);
}

CHECK_CASE("parallel: the end of the rank that holds the store ends the others") {
  const auto outcomes = check::outcomes_of(
      "parallel: the end of the rank that holds the store ends the others", 2, [](Ranks& ranks) {
        ranks.set("there/" + std::to_string(ranks.place().rank), "1");
        if (ranks.place().rank == 0 && ranks.await("there/1", std::chrono::minutes(5)))
          raise(SIGKILL);
        while (true) pause();  // the watch finds it, whatever the rank does
      });
  if (outcomes.empty()) return;
  CHECK(outcomes[1].code == 1);
  CHECK(outcomes[1].output.find("cream: Rank 1 ends because the store at 127.0.0.1:") !=
        std::string::npos);
}
