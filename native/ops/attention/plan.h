// Device tables of a packed batch's segments, built when a batch is first seen and reused by all of
// its layers.
#pragma once

#include "ops/attention/op.h"

namespace cream::ops {

// The plan of the tile kernels in packed_block.h.
struct TilePlan {
  Tensor queries;  // [tiles, 5] int32, QueryTile
  Tensor keys;     // [tiles, 5] int32, KeyTile
  Tensor viewers;  // [.., 3] int32, Viewer
};

// The plan of variable-length attention: each segment of queries is a sequence whose keys are its
// prefix's rows followed by its own, so an end-aligned causal mask gives the segment's visibility.
struct GatherPlan {
  Tensor index;  // [keys] int64: the row of k for each key; undefined if it is the identity, as
                 // without a prefix
  Tensor offsets, sources;                  // [k's rows + 1], [keys] int32: row r is copied to keys
                                            // sources[offsets[r]] …, rising
  Tensor query_ends, key_ends;              // [segments + 1] int32, from 0
  int64_t most_queries = 0, most_keys = 0;  // of one segment
};

// Throws Error{internal} if the segments do not cover the rows of k in order.
std::shared_ptr<const TilePlan> tile_plan(const std::vector<Segment>& segments, const Tensor& q,
                                          const Tensor& k, std::array<int64_t, 2> tile_rows);
std::shared_ptr<const GatherPlan> gather_plan(const std::vector<Segment>& segments, const Tensor& q,
                                              const Tensor& k);

}  // namespace cream::ops
