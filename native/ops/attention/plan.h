// What a packed batch's segments say, as tables on its device: made when a batch is first seen and
// found again by all of its layers.
#pragma once

#include "ops/attention/op.h"

namespace cream::ops {

// For the tile kernels, packed_block.h.
struct TilePlan {
  Tensor queries;  // [tiles, 5] int32, QueryTile
  Tensor keys;     // [tiles, 5] int32, KeyTile
  Tensor viewers;  // [.., 3] int32, Viewer
};

// For attention over variable lengths: each segment of queries is a sequence of its own whose keys
// are its prefix's rows and then its own, so that a causal mask aligned at the end is what a
// segment sees.
struct GatherPlan {
  Tensor index;  // [keys] int64: k's row that each key is of; undefined where that is row after
                 // row, as without a prefix
  Tensor offsets, sources;      // [k's rows + 1], [keys] int32: the keys that row r went to are
                                // sources[offsets[r]] …, rising
  Tensor query_ends, key_ends;  // [segments + 1] int32, from 0
  int64_t most_queries = 0, most_keys = 0;  // of one segment
};

// Error{internal} where the segments do not cover k's rows in order.
std::shared_ptr<const TilePlan> tile_plan(const std::vector<Segment>& segments, const Tensor& q,
                                          const Tensor& k, std::array<int64_t, 2> tile_rows);
std::shared_ptr<const GatherPlan> gather_plan(const std::vector<Segment>& segments, const Tensor& q,
                                              const Tensor& k);

}  // namespace cream::ops
