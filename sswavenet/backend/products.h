// Small matrix products that keep their sums in registers, and what they are made with.
//
// With `Half`, factors are rounded to bfloat16 and sums stay float32. Two of a product's
// terms then fit into the place of one float: the factors are packed in pairs, and the
// same loops run over half as many, or the processor's tiles (AMX) do. Where `FLOAT16` is
// defined and the processor has it but no tiles, factors are float16 instead, and of each
// product there are two sums in float16.

#ifndef SSWAVENET_PRODUCTS_H_
#define SSWAVENET_PRODUCTS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

// Registers that hold matrices, and products of these. Linux gives them on request.
#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define TILES 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// One vector register.
#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
constexpr int kSums = kWidth == 16 ? 24 : 12;  // registers that hold sums
typedef float Vec __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef int32_t VecInt __attribute__((vector_size(kWidth * 4)));

#define INLINE __attribute__((always_inline)) inline

INLINE Vec Load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
INLINE void Store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }

// Memory whose registers lie each in one line of the cache.
template <typename T>
struct Aligned {
  using value_type = T;
  T* allocate(size_t count) {
    return static_cast<T*>(operator new(count * sizeof(T), std::align_val_t(64)));
  }
  void deallocate(T* room, size_t) { operator delete(room, std::align_val_t(64)); }
  bool operator==(const Aligned&) const { return true; }
  bool operator!=(const Aligned&) const { return false; }
};
using Floats = std::vector<float, Aligned<float>>;

// Whether the processor multiplies numbers of 16 bits, and of which kind.
#if !defined(__AVX512FP16__) || defined(TILES)
#undef FLOAT16
#endif
#if defined(FLOAT16)
constexpr bool kHasHalf = true, kFloat16 = true;
#elif defined(__AVX512BF16__)
constexpr bool kHasHalf = true, kFloat16 = false;
#else
constexpr bool kHasHalf = false, kFloat16 = false;
#endif

int64_t Count(int64_t length, int64_t size) { return (length + size - 1) / size; }

// How many terms of a product one float's place holds.
template <bool Half>
constexpr int64_t kTerms = Half ? 2 : 1;

template <bool Half>
INLINE Vec AddProduct(Vec sum, float value, Vec row) {
  // For their intrinsics GCC 12 moves each sum to and fro.
#if defined(FLOAT16)
  if constexpr (Half) {
    asm("vfmadd231ph %1, %2, %0" : "+v"(sum) : "v"(row), "v"(_mm512_set1_ps(value)));
    return sum;
  }
#elif defined(__AVX512BF16__)
  if constexpr (Half) {
    asm("vdpbf16ps %1, %2, %0" : "+v"(sum) : "v"(row), "v"(_mm512_set1_ps(value)));
    return sum;
  }
#endif
  return sum + value * row;
}

// Two sums of 16 bits for each column, added up.
INLINE Vec Joined(Vec sums) {
#if defined(FLOAT16)
  const __m512i turned = _mm512_maskz_rol_epi32(-1, (__m512i)sums, 16);
  const __m512h both = _mm512_add_ph((__m512h)sums, (__m512h)turned);
  return (Vec)_mm512_maskz_cvtph_ps(-1, _mm512_maskz_cvtepi32_epi16(-1, (__m512i)both));
#else
  return sums;
#endif
}

// A product summed over taps: c[r] (+)= sum over taps of a[tap][r] @ w[tap]. A value of
// the left factor lies at a + tap * tap_step + r * row_step + k * depth_step.
struct Product {
  const float* a;
  int64_t row_step, tap_step;
  const float* w;     // (taps, depth, columns)
  int64_t ldw;        // from row to row; 0: in panels, as `Panels` lays them out
  int64_t taps, depth;
  int64_t depth_step = 1;
};

template <bool Half, int R, int V>
INLINE void Tile(const Product& p, int64_t row, int64_t column, float* c, int64_t ldc,
                 bool add) {
  constexpr bool split = Half && kFloat16;
  Vec sums[R][V];
  float* to = c + row * ldc + column;
  const int64_t ldw = p.ldw ? p.ldw : V * kWidth;
  const float* w = p.w + column * (p.ldw ? 1 : p.taps * p.depth);
#pragma GCC unroll 32
  for (int i = 0; i < R * V; ++i)
    sums[i / V][i % V] = add && !split ? Load(to + i / V * ldc + i % V * kWidth) : Vec{};
  for (int64_t tap = 0; tap < p.taps; ++tap) {
    const float* a = p.a + row * p.row_step + tap * p.tap_step;
    for (int64_t k = 0; k < p.depth; ++k, a += p.depth_step, w += ldw) {
      Vec right[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) right[v] = Load(w + v * kWidth);
#pragma GCC unroll 32
      for (int r = 0; r < R; ++r) {
        const float value = a[r * p.row_step];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v)
          sums[r][v] = AddProduct<Half>(sums[r][v], value, right[v]);
      }
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < R * V; ++i) {
    float* at = to + i / V * ldc + i % V * kWidth;
    Vec sum = sums[i / V][i % V];
    if (split) sum = Joined(sum) + (add ? Load(at) : Vec{});
    Store(at, sum);
  }
}

template <bool Half, int V>
void Columns(const Product& p, int64_t rows, int64_t column, float* c, int64_t ldc,
             bool add) {
  constexpr int R = kSums / V;
  int64_t row = 0;
  for (; row + R <= rows; row += R) Tile<Half, R, V>(p, row, column, c, ldc, add);
  for (; row + 4 <= rows; row += 4) Tile<Half, 4, V>(p, row, column, c, ldc, add);
  for (; row < rows; ++row) Tile<Half, 1, V>(p, row, column, c, ldc, add);
}

// Columns of a right factor that are worked on together: with a depth of 192 they fill
// half of the first cache, and every row of the left factor passes them there.
constexpr int64_t kPanel = 2 * kWidth;

#if defined(TILES)
constexpr bool kTiles = true;
constexpr int64_t kTile = 2 * kWidth;  // rows

bool HasTiles() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // of Linux's arch_prctl
  static const bool granted = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return granted;
}

// What the instruction that sets up tiles reads.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};  // of a row
  uint8_t rows[16] = {};

  // Sums in tiles 0 to 3, left factors in 4 and 5, right ones in 6 and 7.
  TileShapes(int64_t height, int64_t depth) {
    for (int tile = 0; tile < 8; ++tile) {
      bytes[tile] = 4 * (tile == 4 || tile == 5 ? depth : kWidth);
      rows[tile] = tile < 6 ? height : depth;
    }
  }
};

// A product's tiles in R rows and V columns of them, of `depth` pairs from `k` on.
template <int R, int V>
INLINE void Tiles(const Product& p, int64_t row, int64_t column, int64_t k, int64_t end,
                  float* c, int64_t ldc, bool add) {
  const int64_t ldw = p.ldw ? p.ldw : V * kWidth, rows = kWidth * ldc;
  const float* panel = p.w + column * (p.ldw ? 1 : p.taps * p.depth);
  float* to = c + row * ldc + column;
  // The intrinsics do not say that they read and write memory.
  asm volatile("" ::: "memory");
  if (add) {
    _tile_loadd(0, to, 4 * ldc);
    if (V > 1) _tile_loadd(1, to + kWidth, 4 * ldc);
    if (R > 1) _tile_loadd(2, to + rows, 4 * ldc);
    if (R > 1 && V > 1) _tile_loadd(3, to + rows + kWidth, 4 * ldc);
  } else {
    _tile_zero(0);
    if (V > 1) _tile_zero(1);
    if (R > 1) _tile_zero(2);
    if (R > 1 && V > 1) _tile_zero(3);
  }
  for (int64_t tap = 0; tap < p.taps; ++tap) {
    const float* left = p.a + row * p.row_step + tap * p.tap_step;
    for (int64_t at = k; at < end; at += kWidth) {
      const float* right = panel + (tap * p.depth + at) * ldw;
      _tile_loadd(4, left + at, 4 * p.row_step);
      _tile_loadd(6, right, 4 * ldw);
      _tile_dpbf16ps(0, 4, 6);
      if (V > 1) {
        _tile_loadd(7, right + kWidth, 4 * ldw);
        _tile_dpbf16ps(1, 4, 7);
      }
      if (R > 1) {
        _tile_loadd(5, left + kWidth * p.row_step + at, 4 * p.row_step);
        _tile_dpbf16ps(2, 5, 6);
        if (V > 1) _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  _tile_stored(0, to, 4 * ldc);
  if (V > 1) _tile_stored(1, to + kWidth, 4 * ldc);
  if (R > 1) _tile_stored(2, to + rows, 4 * ldc);
  if (R > 1 && V > 1) _tile_stored(3, to + rows + kWidth, 4 * ldc);
  asm volatile("" ::: "memory");
}

template <int R>
void TileRows(const Product& p, int64_t row, int64_t rows, int64_t columns, int64_t k,
              int64_t end, float* c, int64_t ldc, bool add) {
  int64_t column = 0;
  for (; column + kPanel <= columns; column += kPanel)
    for (int64_t r = row; r < row + rows; r += R * kWidth)
      Tiles<R, 2>(p, r, column, k, end, c, ldc, add);
  if (column < columns)
    for (int64_t r = row; r < row + rows; r += R * kWidth)
      Tiles<R, 1>(p, r, column, k, end, c, ldc, add);
}

// The product, in whole tiles as far as they go, then in what is left of rows and depth.
void RunInTiles(const Product& p, int64_t rows, int64_t columns, float* c, int64_t ldc,
                bool add) {
  const int64_t whole = p.depth / kWidth * kWidth, high = rows / kWidth * kWidth;
  for (int64_t k = 0, end; k < p.depth; k = end, add = true) {
    end = k < whole ? whole : p.depth;
    const int64_t depth = std::min(end - k, int64_t{kWidth});
    if (high > 0) {
      const TileShapes shapes(kWidth, depth);
      _tile_loadconfig(&shapes);
      const int64_t twice = high / kTile * kTile;
      TileRows<2>(p, 0, twice, columns, k, end, c, ldc, add);
      TileRows<1>(p, twice, high - twice, columns, k, end, c, ldc, add);
    }
    if (high < rows) {
      const TileShapes shapes(rows - high, depth);
      _tile_loadconfig(&shapes);
      TileRows<1>(p, high, rows - high, columns, k, end, c, ldc, add);
    }
  }
  _tile_release();
}
#else
constexpr bool kTiles = false;
constexpr int64_t kTile = kSums / 2;  // rows
#endif

template <bool Half>
void Run(const Product& p, int64_t rows, int64_t columns, float* c, int64_t ldc,
         bool add) {
#if defined(TILES)
  if (Half && p.depth_step == 1 && HasTiles())
    return RunInTiles(p, rows, columns, c, ldc, add);
#endif
  int64_t column = 0;
  for (; column + kPanel <= columns; column += kPanel)
    Columns<Half, 2>(p, rows, column, c, ldc, add);
  for (; column < columns; column += kWidth)
    Columns<Half, 1>(p, rows, column, c, ldc, add);
}

// The values of `low`, then those of `high`, rounded to bfloat16.
INLINE Vec Rounded(Vec low, [[maybe_unused]] Vec high) {
#if defined(FLOAT16)
  const __m256i first = _mm512_maskz_cvtps_ph(-1, (__m512)low, 0);
  const __m256i second = _mm512_maskz_cvtps_ph(-1, (__m512)high, 0);
  return (Vec)_mm512_maskz_inserti64x4(-1, _mm512_castsi256_si512(first), second, 1);
#elif defined(__AVX512BF16__)
  return (Vec)_mm512_cvtne2ps_pbh(high, low);
#else
  return low;
#endif
}

// Of rounded values, those of the first half next to those of the second.
INLINE Vec Interleaved(Vec rounded) {
#if defined(__AVX512BW__)
  __m512i order = _mm512_set_epi32(
      0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009, 0x180008,
      0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
  return (Vec)_mm512_permutexvar_epi16(order, (__m512i)rounded);
#else
  return rounded;
#endif
}

// The transpose of 16 rows of 16 values.
INLINE void Transpose([[maybe_unused]] Vec (&rows)[kWidth]) {
#if defined(__AVX512F__)
  const VecInt lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#pragma GCC unroll 4
  for (int step = 1; step < kWidth; step *= 2) {
    // Of a pair of rows, so many apart, a part of the one changes places with the other's.
    const VecInt moved = (lanes & step) != 0;
    const VecInt low = moved ? lanes + kWidth - step : lanes;
    const VecInt high = moved ? lanes + kWidth : lanes + step;
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i)
      if (!(i & step)) {
        const __m512 one = (__m512)rows[i], other = (__m512)rows[i + step];
        rows[i] = (Vec)_mm512_permutex2var_ps(one, (__m512i)low, other);
        rows[i + step] = (Vec)_mm512_permutex2var_ps(one, (__m512i)high, other);
      }
  }
#endif
}

// Rows of a stretch: even, and a multiple of every tile's.
constexpr int64_t kRows = 96;

// A factor as products take it: the array itself or, with `Half`, rounded copies.
template <bool Half>
class Factor {
 public:
  // `values`: the most that it will hold, in an even number of rows.
  explicit Factor(int64_t values) : room_(Half ? values / 2 + kWidth : 0) {}

  // For the left side of `Run`: neighbours in pairs.
  const float* Neighbours(const float* from, int64_t count) {
    if (!Half) return from;
    Pack(from, count, room_.data());
    return room_.data();
  }

  // The same of three taps' rows, `step` floats apart, one after the other.
  const float* Taps(const float* from, int64_t step, int64_t count) {
    if (!Half) return from;
    for (int64_t tap = 0; tap < 3; ++tap)
      Pack(from + tap * step, count, room_.data() + tap * count / 2);
    return room_.data();
  }

  // For the right side of `Run` and both of `Outer`: each row with the next, the last
  // of an odd number with zeros.
  const float* Rows(const float* from, int64_t rows, int64_t columns) {
    if (!Half) return from;
    float* to = room_.data();
    for (int64_t row = 0; row < rows; row += 2, from += 2 * columns)
      for (int64_t c = 0; c < columns; c += kWidth, to += kWidth) {
        const Vec next = row + 1 < rows ? Load(from + columns + c) : Vec{};
        Store(to, Interleaved(Rounded(Load(from + c), next)));
      }
    return room_.data();
  }

  // The same, transposed: for each column its pairs, with room for whole tiles of them.
  const float* Columns(const float* from, int64_t rows, int64_t columns) {
    const int64_t stride = Count(rows, kPanel) * kWidth;
    for (int64_t c = 0; c < columns; c += kWidth)
      for (int64_t first = 0; first < rows; first += 2 * kWidth) {
        Vec pairs[kWidth];
#pragma GCC unroll 16
        for (int64_t i = 0; i < kWidth; ++i) {
          const int64_t row = first + 2 * i;
          const float* at = from + row * columns + c;
          pairs[i] = row >= rows ? Vec{}
                                 : Interleaved(Rounded(
                                       Load(at), row + 1 < rows ? Load(at + columns) : Vec{}));
        }
        Transpose(pairs);
        float* to = room_.data() + c * stride + first / 2;
#pragma GCC unroll 16
        for (int64_t i = 0; i < kWidth; ++i) Store(to + i * stride, pairs[i]);
      }
    return room_.data();
  }

  static void Pack(const float* from, int64_t count, float* to) {
    int64_t i = 0;
    for (; i + 2 * kWidth <= count; i += 2 * kWidth)
      Store(to + i / 2, Rounded(Load(from + i), Load(from + i + kWidth)));
    if (i == count) return;
    const Vec rest = Rounded(Load(from + i), Vec{});
    std::memcpy(to + i / 2, &rest, (count - i) * 2);  // beyond may lie another's values
  }

 private:
  std::vector<float> room_;
};

// A right factor for `Run`, of which each panel's rows lie one after the other, so that
// they fill no set of the cache twice. `rows` is even with `Half`.
template <bool Half>
Floats Panels(const float* from, int64_t rows, int64_t columns, int64_t stride) {
  Floats panels(rows * columns / kTerms<Half>);
  float* to = panels.data();
  for (int64_t column = 0, width; column < columns; column += width) {
    width = columns - column < kPanel ? kWidth : kPanel;
    for (int64_t row = 0; row < rows; row += kTerms<Half>)
      for (int64_t c = column; c < column + width; c += kWidth, to += kWidth) {
        const float* one = from + row * stride + c;
        Store(to, Half ? Interleaved(Rounded(Load(one), Load(one + stride))) : Load(one));
      }
  }
  return panels;
}

// 2^x for |x| <= 60, of which two can be multiplied; what is beyond counts as that, or as
// less where x is negative. With `Half` as precise as numbers of 16 bits need it.
template <bool Half = false>
INLINE Vec Exp2(Vec x) {
  // x = n + f with |f| <= 1/2.
  const Vec limit = Vec{} + 60.0f;
#if defined(__AVX512F__)
  x = (Vec)_mm512_maskz_min_ps(-1, (__m512)limit, (__m512)x);
  const __m512 whole = _mm512_maskz_roundscale_ps(-1, (__m512)x, 0);
  const Vec f = x - (Vec)whole;
#else
  x = x > limit ? limit : x;
  x = x < -limit ? -limit : x;
  // Adding 1.5 * 2^23 rounds to an integer, in the last bits.
  const Vec magic = Vec{} + 12582912.0f;
  const Vec shifted = x + magic;
  const Vec f = x - (shifted - magic);
#endif
  // The best polynomials of their degree, exact for 0: 1e-4 and 2e-9 off.
  Vec p;
  if (Half) {
    p = Vec{} + 0.055009057806583626f;
    for (float term : {0.24221097466536906f, 0.6932828979925822f, 1.0f}) p = p * f + term;
  } else {
    p = Vec{} + 1.5345810970757157e-4f;
    for (float term : {1.3399930903688073e-3f, 9.618489071726799e-3f,
                       5.550328642129898e-2f, 0.24022646248340607f, 0.6931471824645996f,
                       1.0f})
      p = p * f + term;
  }
#if defined(__AVX512F__)
  return (Vec)_mm512_maskz_scalef_ps(-1, (__m512)p, whole);
#else
  const VecInt power = reinterpret_cast<VecInt>(shifted) << 23;
  return reinterpret_cast<Vec>(reinterpret_cast<VecInt>(p) + power);
#endif
}

INLINE Vec Relu(Vec x) { return x < 0.0f ? Vec{} : x; }  // what is no number stays so

// 1 / x to float rounding, for x from 1 to 2^125.
INLINE Vec Reciprocal(Vec x) {
#if defined(__AVX512F__)
  const Vec near = (Vec)_mm512_maskz_rcp14_ps(-1, (__m512)x);
  return near + near * (1.0f - x * near);  // a division takes three times as long
#else
  return 1.0f / x;
#endif
}

constexpr float kLog2E = 1.44269504f;

INLINE Vec Sigmoid(Vec x) { return Reciprocal(1.0f + Exp2(-kLog2E * x)); }

// Hidden channels of the head that are worked on together: their kernels and values
// stay in the cache.
constexpr int64_t kHidden = 128;

// What the rows -1..rows of a stretch hold: relu of skips, zero outside the fragment.
void Rectified(const float* skips, int64_t start, int64_t rows, int64_t length,
               int64_t channels, float* to) {
  for (int64_t row = start - 1; row < start + rows + 1; ++row, to += channels) {
    if (row < 0 || row >= length) {
      std::fill_n(to, channels, 0.0f);
      continue;
    }
    for (int64_t c = 0; c < channels; c += kWidth)
      Store(to + c, Relu(Load(skips + row * channels + c)));
  }
}

void Rectify(float* values, int64_t count) {
  for (int64_t i = 0; i < count; i += kWidth) Store(values + i, Relu(Load(values + i)));
}

// What an entry is given; each of these throws where it is something else.
void Expect(bool holds, const std::string& expected) {
  if (!holds) throw std::invalid_argument("expected " + expected);
}

void ExpectChannels(const std::string& name, int64_t count) {
  Expect(count > 0 && count % 16 == 0 && count <= 1 << 16,
         name + " to be a positive multiple of 16, got " + std::to_string(count));
}

}  // namespace

#endif  // SSWAVENET_PRODUCTS_H_
