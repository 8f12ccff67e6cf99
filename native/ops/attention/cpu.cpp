// Cuts attention into tiles of queries that share keys. Decode: adjacent rows of one prompt × the
// query heads of one kv head; packed batch: adjacent rows of one segment × the same heads. Tiles
// are distributed over threads.
#include <array>
#include <utility>

#include "ops/attention/device.h"
#include "ops/attention/kernel.h"
#include "ops/attention/launch.h"
#include "ops/attention/op.h"
#include "support/device.h"

namespace cream::ops {
namespace {

constexpr int64_t most_queries = 96;  // of one tile: their state and two key blocks stay in L2

// Query and output addresses of one tile: row by row, the `group` query heads of one kv head.
template <Level L, class T>
struct Tile {
  std::array<const T*, most_queries> q;
  std::array<T*, most_queries> out;
  int64_t count = 0;

  void push(const Tensor& queries, Tensor& result, int64_t row, int64_t head) {
    q[count] = data<T>(queries) + row * queries.stride(0) + head * queries.size(2);
    out[count++] = mutable_data<T>(result) + row * result.stride(0) + head * queries.size(2);
  }
  attend::Queries<T> queries(int64_t d, const AttentionKind& kind) const {
    return {q.data(),
            count,
            d,
            static_cast<float>(kind.scale_of(d)),
            static_cast<float>(kind.softcap),
            scratch(attend::scratch_floats<L>(count, d))};
  }
};

using attend::Range;

// Adjacent rows with the same shared keys, at most `limit` of them.
std::vector<Range> sibling_rows(const std::vector<DecodeSource>& sources, int64_t limit) {
  std::vector<Range> ranges;
  for (int64_t row = 0; row < static_cast<int64_t>(sources.size()); ++row) {
    const bool sibling = row > 0 && sources[row].shared_keys &&
                         sources[row].shared_keys == sources[row - 1].shared_keys &&
                         sources[row].shared_length == sources[row - 1].shared_length &&
                         row - ranges.back().first < limit;
    if (sibling)
      ranges.back().last = row + 1;
    else
      ranges.push_back({row, row + 1});
  }
  return ranges;
}

struct DecodeWork {
  const std::vector<DecodeSource>& sources;
  int64_t kv_heads, group, d;
  const AttentionKind& kind;
  const std::vector<Range>& ranges;  // of rows with the same shared keys
};

// What one kv head reads of a row's source.
template <class T>
attend::Keys<T> shared_keys(const DecodeSource& s, int64_t kv_head, int64_t d) {
  const int64_t offset = kv_head * s.shared_capacity * d;
  return {static_cast<const T*>(s.shared_keys) + offset,
          static_cast<const T*>(s.shared_values) + offset, d, s.shared_length, s.shared_grouped};
}
template <class T>
attend::Keys<T> own_keys(const DecodeSource& s, int64_t kv_head, int64_t d) {
  const int64_t offset = kv_head * s.own_capacity * d;
  return {static_cast<const T*>(s.own_keys) + offset, static_cast<const T*>(s.own_values) + offset,
          d, s.own_length, s.own_grouped};
}

// The tiles first_tile … last_tile−1: range by range, every kv head. A cache is read once per step,
// from memory, so while one part is added, the first block of the next one is on its way.
template <Level L, class T>
void decode_tiles(const Tensor& q, Tensor& out, const DecodeWork& work, int64_t first_tile,
                  int64_t last_tile) {
  const auto& [sources, kv_heads, group, d, kind, ranges] = work;
  const auto shared = [&](int64_t tile) {
    return shared_keys<T>(sources[ranges[tile / kv_heads].first], tile % kv_heads, d);
  };
  attend::Keys<T> next = shared(first_tile);
  attend::prefetch<L>(next, d);
  for (int64_t i = first_tile; i < last_tile; ++i) {
    const Range rows = ranges[i / kv_heads];
    const int64_t kv_head = i % kv_heads;
    Tile<L, T> tile;
    std::array<int64_t, most_queries> shared_begin, own_begin;  // of each query's window
    for (int64_t row = rows.first; row < rows.last; ++row)
      for (int64_t h = 0; h < group; ++h) {
        const int64_t first = kind.window > 0
                                  ? std::max<int64_t>(0, sources[row].shared_length +
                                                             sources[row].own_length - kind.window)
                                  : 0;
        shared_begin[tile.count] = std::min(first, sources[row].shared_length);
        own_begin[tile.count] = std::max<int64_t>(0, first - sources[row].shared_length);
        tile.push(q, out, row, kv_head * group + h);
      }
    const attend::Queries<T> queries = tile.queries(d, kind);
    attend::begin<L>(queries);
    const auto add = [&](attend::Range range, const int64_t* begin, const attend::Keys<T>& after) {
      attend::add<L>(queries, std::exchange(next, after), range,
                     {kind.window > 0 ? begin : nullptr, nullptr}, &next);
    };
    add({0, tile.count}, shared_begin.data(), own_keys<T>(sources[rows.first], kv_head, d));
    for (int64_t row = rows.first; row < rows.last; ++row) {
      const int64_t at = (row - rows.first) * group;
      add({at, at + group}, own_begin.data() + at,
          row + 1 < rows.last ? own_keys<T>(sources[row + 1], kv_head, d)
          : i + 1 < last_tile ? shared(i + 1)
                              : attend::Keys<T>{});
    }
    attend::finish<L>(queries, tile.out.data());
  }
}

struct PackedTile {
  const Segment* segment;
  const Segment* prefix;  // or null
  Range rows;             // within the segment
  int64_t kv_head;
};

template <Level L, class T>
void packed_tile(const Tensor& q, const Tensor& k, const Tensor& v, Tensor& out,
                 const PackedTile& t, const AttentionKind& kind) {
  const int64_t d = q.size(2), group = q.size(1) / k.size(1),
                before = t.prefix ? t.prefix->length : 0;
  Tile<L, T> tile;
  std::array<int64_t, most_queries> limits, prefix_begin, own_begin;
  for (int64_t row = t.rows.first; row < t.rows.last; ++row)
    for (int64_t h = 0; h < group; ++h) {
      const int64_t first =
          kind.window > 0 ? std::max<int64_t>(0, before + row + 1 - kind.window) : 0;
      prefix_begin[tile.count] = std::min(first, before);
      own_begin[tile.count] = std::max<int64_t>(0, first - before);
      limits[tile.count] = row + 1;
      tile.push(q, out, t.segment->start + row, t.kv_head * group + h);
    }
  const attend::Queries<T> queries = tile.queries(d, kind);
  attend::begin<L>(queries);
  const auto part = [&](int64_t start, int64_t length) {
    const int64_t offset = start * k.stride(0) + t.kv_head * d;
    return attend::Keys<T>{data<T>(k) + offset, data<T>(v) + offset, k.stride(0), length};
  };
  const bool window = kind.window > 0;
  if (t.prefix)
    attend::add<L>(queries, part(t.prefix->start, t.prefix->length), {0, tile.count},
                   {window ? prefix_begin.data() : nullptr, nullptr});
  attend::add<L>(queries, part(t.segment->start, t.rows.last), {0, tile.count},
                 {window ? own_begin.data() : nullptr, limits.data()});
  attend::finish<L>(queries, tile.out.data());
}

}  // namespace

bool attention_is_batch_invariant(int64_t heads, int64_t kv_heads, int64_t d, at::ScalarType dtype,
                                  const at::Device& device) {
  if (device.is_cpu()) return fast_path() && head_dim_fits(d) && heads / kv_heads <= most_queries;
  return dtype == at::kBFloat16 && d % 8 == 0 && d <= 128;
}

bool groups_keys(int64_t heads, int64_t kv_heads, int64_t d, at::ScalarType dtype) {
  if (!attention_is_batch_invariant(heads, kv_heads, d, dtype, at::kCPU)) return false;
  if (dtype == at::kFloat) return true;
  return dtype == at::kBFloat16 && !(level() == Level::amx && attend::fits_tiles<uint16_t>(d));
}

void group_keys(void* keys, int64_t d, at::ScalarType dtype) {
  at_level([&]<Level L>() {
    if (dtype == at::kFloat) return attend::group_keys<L>(static_cast<float*>(keys), d);
    attend::group_keys<L>(static_cast<uint16_t*>(keys), d);
  });
}

Tensor decode_attention(const Tensor& q, const std::vector<DecodeSource>& sources, int64_t kv_heads,
                        const AttentionKind& kind) {
  const int64_t rows = q.size(0), heads = q.size(1), d = q.size(2), group = heads / kv_heads;
  if (!fast_inputs(q) || !head_dim_fits(d) || group > most_queries)
    return reference::decode_attention(q, sources, kv_heads, kind);
  const Tensor in = by_rows(q);
  Tensor out = at::empty({rows, heads * d}, q.options());
  const std::vector<Range> ranges = sibling_rows(sources, most_queries / group);
  const int64_t tiles = static_cast<int64_t>(ranges.size()) * kv_heads;
  const DecodeWork work{sources, kv_heads, group, d, kind, ranges};
  by_product_type(in, [&]<Level L, class T>() {
    parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) {
      decode_tiles<L, T>(in, out, work, begin, end);
    });
  });
  count_fast_run(Op::decode_attention);
  return out;
}

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<Segment>& segments, const AttentionKind& kind) {
  if (on_device(q)) return device::packed_attention(q, k, v, segments, kind);
  const int64_t rows = q.size(0), heads = q.size(1), d = q.size(2), kv_heads = k.size(1),
                group = heads / kv_heads;
  int64_t covered = 0;
  for (const Segment& segment : segments) covered += segment.length;
  if (!fast_inputs(q, {k, v}) || !head_dim_fits(d) || group > most_queries || covered != rows)
    return reference::packed_attention(q, k, v, segments, kind);
  const Tensor in = by_rows(q);
  Tensor keys = by_rows(k), values = by_rows(v);
  if (keys.stride(0) != values.stride(0)) keys = keys.contiguous(), values = values.contiguous();
  Tensor out = at::empty({rows, heads * d}, q.options());
  const int64_t height = std::max<int64_t>(1, most_queries / group);
  std::vector<PackedTile> tiles;
  for (const Segment& segment : segments)
    for (int64_t row = 0; row < segment.length; row += height)
      for (int64_t head = 0; head < kv_heads; ++head)
        tiles.push_back({&segment,
                         segment.prefix < 0 ? nullptr : &segments[segment.prefix],
                         {row, std::min(row + height, segment.length)},
                         head});
  by_product_type(in, [&]<Level L, class T>() {
    parallel_for(0, static_cast<int64_t>(tiles.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        packed_tile<L, T>(in, keys, values, out, tiles[i], kind);
    });
  });
  count_fast_run(Op::packed_attention);
  return out;
}

}  // namespace cream::ops
