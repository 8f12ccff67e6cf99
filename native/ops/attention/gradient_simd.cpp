// Gradients of softmax attention for one prompt with its completions and one kv head (Dao 2022,
// appendix B.2):
//
//   dV = Pᵀ·dO    dP = dO·Vᵀ    dS = P∘(dP − rowsum(P∘dP))    dQ = scale·dS·K    dK = scale·dSᵀ·Q
//
// P is recomputed, six queries at a time against all visible keys, so nothing is saved by the
// forward pass and no matrix leaves the CPU cache. Both products over head_dim read keys (values)
// transposed once per segment, with bf16 dot products; the other three are fp32. A prompt's dK and
// dV are summed over the prompt and its completions in fp32 and rounded once.
#include "ops/attention/gradient_kernel.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "ops/attention/tile.h"

namespace cream::ops::attend {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

inline int64_t blocks_of(int64_t keys) { return (keys + key_block - 1) / key_block; }

// Layout of the scratch memory, in floats. `longest`: rows of the longest segment.
struct ScratchLayout {
  int64_t words, prefix_transposed, own_transposed, prefix_sums, own_sums, scores, derivatives,
      slopes, queries, gradients, end;
  template <class T>
  static ScratchLayout of(const Gradient<T>& b) {
    int64_t longest = 0;
    for (int64_t i = 0; i < b.count; ++i) longest = std::max(longest, b.segments[i].length);
    const int64_t prefix = b.segments[0].length,
                  seen = (blocks_of(prefix) + blocks_of(longest)) * key_block;
    ScratchLayout r{};
    r.words = b.d * static_cast<int64_t>(sizeof(T)) / 4;
    int64_t at = 0;
    const auto take = [&at](int64_t floats) {
      return std::exchange(at, at + (floats + 15) / 16 * 16);
    };
    r.prefix_transposed = take(2 * blocks_of(prefix) * r.words * key_block);
    r.own_transposed = take(2 * blocks_of(longest) * r.words * key_block);
    r.prefix_sums = take(2 * prefix * b.d);
    r.own_sums = take(2 * longest * b.d);
    r.scores = take(tile_queries * seen);
    r.derivatives = take(tile_queries * seen);
    r.slopes = take(b.softcap > 0 ? tile_queries * seen : 0);
    r.queries = take(tile_queries * b.d);
    r.gradients = take(tile_queries * b.d);
    r.end = at;
    return r;
  }
};

// Keys and values of one segment, transposed and as stored, and the sums of their gradients.
template <class T>
struct Part {
  const T *keys, *values;
  int64_t k_stride, v_stride, length;
  int32_t *transposed_keys, *transposed_values;  // [blocks][words][64]
  float *d_keys, *d_values;                      // [length][d]
};

// Up to six queries and the keys first … last of both parts that each of them sees.
struct Seen {
  int64_t first, last;
};

template <class T>
class Walk {
 public:
  Walk(const Gradient<T>& b, float* scratch)
      : b_(b), at_(ScratchLayout::of(b)), scratch_(scratch) {}

  void run() {
    const Part<T> prefix = part(b_.segments[0], at_.prefix_transposed, at_.prefix_sums);
    segment(b_.segments[0], nullptr, prefix);
    for (int64_t i = 1; i < b_.count; ++i) {
      const Part<T> own = part(b_.segments[i], at_.own_transposed, at_.own_sums);
      segment(b_.segments[i], &prefix, own);
      write(b_.segments[i], own);
    }
    write(b_.segments[0], prefix);
  }

 private:
  Part<T> part(const Stretch& s, int64_t transposed, int64_t sums) {
    Part<T> p{b_.k + s.start * b_.k_stride,
              b_.v + s.start * b_.v_stride,
              b_.k_stride,
              b_.v_stride,
              s.length,
              nullptr,
              nullptr,
              nullptr,
              nullptr};
    const int64_t blocks = blocks_of(s.length), size = at_.words * key_block;
    p.transposed_keys = reinterpret_cast<int32_t*>(scratch_ + transposed);
    p.transposed_values = p.transposed_keys + blocks * size;
    std::fill_n(p.transposed_keys, 2 * blocks * size, 0);
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t first = i * key_block, n = std::min(key_block, s.length - first);
      transpose_keys(p.keys + first * p.k_stride, p.k_stride, n, b_.d,
                     p.transposed_keys + i * size);
      transpose_keys(p.values + first * p.v_stride, p.v_stride, n, b_.d,
                     p.transposed_values + i * size);
    }
    p.d_keys = scratch_ + sums;
    p.d_values = p.d_keys + s.length * b_.d;
    std::fill_n(p.d_keys, 2 * s.length * b_.d, 0.0f);
    return p;
  }

  void write(const Stretch& s, const Part<T>& p) {
    for (int64_t row = 0; row < s.length; ++row)
      for (int64_t i = 0; i < b_.d; i += 16) {
        store16(b_.dk + (s.start + row) * b_.dk_stride + i, load16(p.d_keys + row * b_.d + i));
        store16(b_.dv + (s.start + row) * b_.dv_stride + i, load16(p.d_values + row * b_.d + i));
      }
  }

  void segment(const Stretch& s, const Part<T>* prefix, const Part<T>& own) {
    const int64_t queries = s.length * b_.group;
    for (int64_t first = 0; first < queries; first += tile_queries) {
      switch (std::min<int64_t>(tile_queries, queries - first)) {
        case 1:
          tile<1>(s, prefix, own, first);
          break;
        case 2:
          tile<2>(s, prefix, own, first);
          break;
        case 3:
          tile<3>(s, prefix, own, first);
          break;
        case 4:
          tile<4>(s, prefix, own, first);
          break;
        case 5:
          tile<5>(s, prefix, own, first);
          break;
        default:
          tile<6>(s, prefix, own, first);
      }
    }
  }

  template <int R>
  void tile(const Stretch& s, const Part<T>* prefix, const Part<T>& own, int64_t first) {
    T *q = reinterpret_cast<T*>(scratch_ + at_.queries),
      *g = reinterpret_cast<T*>(scratch_ + at_.gradients), *dq[R];
    Seen before[R], here[R];
    for (int r = 0; r < R; ++r) {
      const int64_t row = (first + r) / b_.group, head = (first + r) % b_.group;
      std::memcpy(q + r * b_.d, b_.q + (s.start + row) * b_.q_stride + head * b_.d,
                  b_.d * sizeof(T));
      std::memcpy(g + r * b_.d, b_.d_out + (s.start + row) * b_.d_out_stride + head * b_.d,
                  b_.d * sizeof(T));
      dq[r] = b_.dq + (s.start + row) * b_.dq_stride + head * b_.d;
      const int64_t behind = prefix ? prefix->length : 0,
                    oldest = b_.window > 0 ? behind + row + 1 - b_.window : 0;
      before[r] = {std::clamp<int64_t>(oldest, 0, behind), behind};
      here[r] = {std::max<int64_t>(oldest - behind, 0), row + 1};
    }
    const int64_t own_at = prefix ? blocks_of(prefix->length) * key_block : 0,
                  width = own_at + blocks_of(own.length) * key_block;
    if (prefix) score_part<R>(*prefix, before, 0, width);
    score_part<R>(own, here, own_at, width);
    const int64_t end =
        own_at + blocks_of(here[R - 1].last) * key_block;  // no query of the tile sees a later key
    for (int r = 0; r < R; ++r) soften(r, width, end);

    Floats zero = zero16();
    for (int64_t i = 0; i < b_.d; i += chunk_of(i)) {
      const auto sweep = [&](auto columns) {
        constexpr int C = decltype(columns)::value;
        Floats acc[R][C];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
          for (int c = 0; c < C; ++c) acc[r][c] = zero;
        if (prefix) add_to_queries<R, C>(*prefix, before, 0, width, i, acc);
        add_to_queries<R, C>(own, here, own_at, width, i, acc);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
          for (int c = 0; c < C; ++c) store16(dq[r] + i + 16 * c, acc[r][c]);
        if (prefix) add_to_keys<R, C>(*prefix, before, 0, width, i);
        add_to_keys<R, C>(own, here, own_at, width, i);
      };
      if (chunk_of(i) == 16 * most_columns)
        sweep(std::integral_constant<int, most_columns>{});
      else
        sweep(std::integral_constant<int, 1>{});
    }
  }

  int64_t chunk_of(int64_t i) const {
    return b_.d - i >= 16 * most_columns ? 16 * most_columns : 16;
  }

  // Keys that any of the R queries sees.
  template <int R>
  static Seen all_of(const Seen (&seen)[R]) {
    Seen all = seen[0];
    for (int r = 1; r < R; ++r)
      all = {std::min(all.first, seen[r].first), std::max(all.last, seen[r].last)};
    return all;
  }

  // scores and dO·v against one part; −inf where a query does not see the key.
  template <int R>
  void score_part(const Part<T>& p, const Seen (&seen)[R], int64_t at, int64_t width) {
    const Seen all = all_of<R>(seen);
    float scores[R * key_block], products[R * key_block];
    const int32_t *q = reinterpret_cast<const int32_t*>(scratch_ + at_.queries),
                  *g = reinterpret_cast<const int32_t*>(scratch_ + at_.gradients);
    Ahead none;
    for (int64_t block = 0; block < blocks_of(all.last); ++block) {
      const int64_t first = block * key_block, size = at_.words * key_block;
      const bool any = first < all.last && first + key_block > all.first;
      if (any) {
        score_columns<R, T>(q, Columns(p.transposed_keys + block * size, at_.words), at_.words, 4,
                            b_.scale, scores, none);
        score_columns<R, T>(g, Columns(p.transposed_values + block * size, at_.words), at_.words, 4,
                            1.0f, products, none);
      }
      for (int r = 0; r < R; ++r)
        for (int64_t c = 0; c < 4; ++c) {
          const int64_t key = first + 16 * c, to = r * width + at + key;
          const Mask m =
              any ? without16(first_lanes(seen[r].last - key), first_lanes(seen[r].first - key))
                  : first_lanes(0);
          Floats s = load16(scores + r * key_block + 16 * c);
          if (b_.softcap > 0 && bits16(m) != 0) {
            const Floats t = tanh16(mul16(s, set16(1.0f / b_.softcap)));
            s = mul16(t, set16(b_.softcap));
            store16(scratch_ + at_.slopes + to, fnma16(t, t, set16(1.0f)));
          }
          store16(scratch_ + at_.scores + to, select16(m, s, set16(minus_infinity)));
          store16(scratch_ + at_.derivatives + to, load16(products + r * key_block + 16 * c, m));
        }
    }
  }

  // Scores and products of query r → its weights P and scale·dS.
  void soften(int r, int64_t width, int64_t end) {
    float *s = scratch_ + at_.scores + r * width, *d = scratch_ + at_.derivatives + r * width;
    const float* slope = scratch_ + at_.slopes + r * width;
    Floats high = set16(minus_infinity);
    for (int64_t i = 0; i < end; i += 16) high = max16(high, load16(s + i));
    const Floats max = set16(top16(high));
    Floats sum = zero16(), mean = zero16();
    for (int64_t i = 0; i < end; i += 16) {
      const Floats p = exp16(sub16(load16(s + i), max));
      sum = add16(sum, p);
      mean = fma16(p, load16(d + i), mean);
      store16(s + i, p);
    }
    const float inverse = 1.0f / sum16(sum);
    const Floats factor = set16(inverse), middle = set16(sum16(mean) * inverse),
                 scale = set16(b_.scale);
    for (int64_t i = 0; i < end; i += 16) {
      const Floats p = mul16(load16(s + i), factor);
      Floats ds = mul16(mul16(p, scale), sub16(load16(d + i), middle));
      if (b_.softcap > 0) ds = keep16(differs16(p, zero16()), mul16(ds, load16(slope + i)));
      store16(s + i, p);
      store16(d + i, ds);
    }
  }

  // dQ += dS·K over one part, dimensions i … i + 16·C.
  template <int R, int C>
  void add_to_queries(const Part<T>& p, const Seen (&seen)[R], int64_t at, int64_t width, int64_t i,
                      Floats (&acc)[R][C]) {
    const Seen all = all_of<R>(seen);
    const float* ds = scratch_ + at_.derivatives + at;
    for (int64_t key = all.first; key < all.last; ++key) {
      Floats k[C];
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) k[c] = load16(p.keys + key * p.k_stride + i + 16 * c);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const Floats weight = set16(ds[r * width + key]);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) acc[r][c] = fma16(weight, k[c], acc[r][c]);
      }
    }
  }

  // dK += dSᵀ·Q and dV += Pᵀ·dO for one part's keys, dimensions i … i + 16·C.
  template <int R, int C>
  void add_to_keys(const Part<T>& p, const Seen (&seen)[R], int64_t at, int64_t width, int64_t i) {
    const Seen all = all_of<R>(seen);
    add_rows<R, C>(reinterpret_cast<const T*>(scratch_ + at_.queries) + i,
                   scratch_ + at_.derivatives + at, width, all, p.d_keys + i);
    add_rows<R, C>(reinterpret_cast<const T*>(scratch_ + at_.gradients) + i,
                   scratch_ + at_.scores + at, width, all, p.d_values + i);
  }

  template <int R, int C>
  void add_rows(const T* rows, const float* weights, int64_t width, Seen keys, float* sums) {
    Floats x[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) x[r][c] = load16(rows + r * b_.d + 16 * c);
    for (int64_t key = keys.first; key < keys.last; ++key) {
      Floats sum[C];
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[c] = load16(sums + key * b_.d + 16 * c);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const Floats weight = set16(weights[r * width + key]);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[c] = fma16(weight, x[r][c], sum[c]);
      }
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) store16(sums + key * b_.d + 16 * c, sum[c]);
    }
  }

  const Gradient<T>& b_;
  const ScratchLayout at_;
  float* scratch_;
};

}  // namespace

template <Level L, class T>
int64_t gradient_scratch_floats(const Gradient<T>& b) {
  return ScratchLayout::of(b).end;
}
template <Level L, class T>
void gradient(const Gradient<T>& b, float* scratch) {
  Walk<T>(b, scratch).run();
}

template int64_t gradient_scratch_floats<CREAM_LEVEL>(const Gradient<uint16_t>&);
template int64_t gradient_scratch_floats<CREAM_LEVEL>(const Gradient<float>&);
template void gradient<CREAM_LEVEL>(const Gradient<uint16_t>&, float*);
template void gradient<CREAM_LEVEL>(const Gradient<float>&, float*);

}  // namespace cream::ops::attend
