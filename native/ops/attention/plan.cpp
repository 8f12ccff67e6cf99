#include "ops/attention/plan.h"

#include <list>
#include <mutex>

#include "support/device.h"
#include "support/error.h"

namespace cream::ops {
namespace {

// Plans of the last few batches, looked up by the content of the segments, and by stream, because
// the tables' memory is reused in the order of one stream. Never destroyed: at exit the device may
// be gone.
template <class Plan>
class Recent {
 public:
  template <class Make>
  std::shared_ptr<const Plan> find(const std::vector<Segment>& segments, const Tensor& q,
                                   std::array<int64_t, 2> tile_rows, const Make& make) {
    const std::lock_guard lock(mutex_);
    Key key{segments, q.device(), stream_of(q), q.size(0), tile_rows};
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const auto& entry) { return entry.first == key; });
    if (found != entries_.end())
      entries_.splice(entries_.begin(), entries_, found);
    else
      entries_.emplace_front(std::move(key), std::make_shared<const Plan>(make()));
    if (entries_.size() > most) entries_.pop_back();
    return entries_.front().second;
  }

 private:
  static constexpr size_t most = 4;
  struct Key {
    std::vector<Segment> segments;
    at::Device device;
    void* stream;
    int64_t queries;
    std::array<int64_t, 2> tile_rows;
    bool operator==(const Key&) const = default;
  };
  std::mutex mutex_;
  std::list<std::pair<Key, std::shared_ptr<const Plan>>> entries_;  // most recently used first
};

void check_cover(const std::vector<Segment>& segments, int64_t rows) {
  int64_t next = 0;
  bool fits = true;
  for (const Segment& s : segments) {
    fits = fits && s.start == next && s.prefix < static_cast<int32_t>(segments.size()) &&
           (s.prefix < 0 || segments[s.prefix].prefix < 0);
    next += s.length;
  }
  if (!fits || next != rows)
    throw Error(ErrorCode::internal, "packed_attention: segments must cover the " +
                                         std::to_string(rows) +
                                         " rows in order, and a prefix has none of its own.");
}

template <class T>
Tensor on_device_of(const Tensor& like, const std::vector<T>& values) {
  return at::tensor(values, at::CppTypeToScalarType<T>::value).to(like.device());
}

int32_t small(int64_t n) { return static_cast<int32_t>(n); }

TilePlan make_tiles(const std::vector<Segment>& segments, const Tensor& q,
                    std::array<int64_t, 2> tile_rows) {
  const auto [query_rows, key_rows] = tile_rows;
  std::vector<int32_t> queries, keys, viewers;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& s = segments[i];
    const Segment before = s.prefix < 0 ? Segment{} : segments[s.prefix];
    for (int64_t row = 0; s.start < q.size(0) && row < s.length; row += query_rows)
      queries.insert(queries.end(),
                     {small(s.start + row), small(std::min(query_rows, s.length - row)), small(row),
                      small(before.start), small(before.length)});
    const int32_t first = small(viewers.size() / 3);
    viewers.insert(viewers.end(), {small(s.start), small(s.length), 0});
    for (const Segment& other : segments)
      if (other.prefix == static_cast<int32_t>(i))
        viewers.insert(viewers.end(), {small(other.start), small(other.length), small(s.length)});
    for (int64_t row = 0; row < s.length; row += key_rows)
      keys.insert(keys.end(), {small(s.start + row), small(std::min(key_rows, s.length - row)),
                               small(row), first, small(viewers.size() / 3) - first});
  }
  return {on_device_of(q, queries).view({-1, 5}), on_device_of(q, keys).view({-1, 5}),
          on_device_of(q, viewers).view({-1, 3})};
}

GatherPlan make_gather(const std::vector<Segment>& segments, const Tensor& q, int64_t rows) {
  GatherPlan plan;
  std::vector<int64_t> index;
  std::vector<int32_t> query_ends{0}, key_ends{0};
  const auto add = [&](const Segment& s) {
    for (int64_t row = s.start; row < s.start + s.length; ++row) index.push_back(row);
  };
  for (const Segment& s : segments) {
    if (s.length == 0 || s.start >= q.size(0)) continue;
    if (s.prefix >= 0) add(segments[s.prefix]);
    add(s);
    query_ends.push_back(small(s.start + s.length));
    key_ends.push_back(small(index.size()));
    plan.most_queries = std::max(plan.most_queries, s.length);
    plan.most_keys =
        std::max<int64_t>(plan.most_keys, key_ends.back() - key_ends[key_ends.size() - 2]);
  }
  plan.query_ends = on_device_of(q, query_ends), plan.key_ends = on_device_of(q, key_ends);
  if (static_cast<int64_t>(index.size()) == rows && rows == q.size(0)) return plan;  // no prefix
  std::vector<int32_t> offsets(rows + 1, 0), sources(index.size());
  for (const int64_t row : index) ++offsets[row + 1];
  for (int64_t row = 0; row < rows; ++row) offsets[row + 1] += offsets[row];
  std::vector<int32_t> next(offsets.begin(), offsets.end() - 1);
  for (size_t key = 0; key < index.size(); ++key) sources[next[index[key]]++] = small(key);
  plan.index = on_device_of(q, index), plan.offsets = on_device_of(q, offsets),
  plan.sources = on_device_of(q, sources);
  return plan;
}

}  // namespace

std::shared_ptr<const TilePlan> tile_plan(const std::vector<Segment>& segments, const Tensor& q,
                                          const Tensor& k, std::array<int64_t, 2> tile_rows) {
  static auto& recent = *new Recent<TilePlan>;
  check_cover(segments, k.size(0));
  return recent.find(segments, q, tile_rows, [&] { return make_tiles(segments, q, tile_rows); });
}

std::shared_ptr<const GatherPlan> gather_plan(const std::vector<Segment>& segments, const Tensor& q,
                                              const Tensor& k) {
  static auto& recent = *new Recent<GatherPlan>;
  check_cover(segments, k.size(0));
  return recent.find(segments, q, {0, 0}, [&] { return make_gather(segments, q, k.size(0)); });
}

}  // namespace cream::ops
