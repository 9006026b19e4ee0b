// The Wavenet's residual block and its head, forward and backward, as XLA custom calls.
//
//   x --+--> dilated conv (3 taps) --> tanh * sigmoid --> 1x1 conv --+--> skip sum
//       +---------------------------- crop ------------------------> + --> output
//
//   skip sum --> ReLU --> conv (3 taps) --> ReLU --> product --> out
//
// The work is done in short stretches of time, whose intermediate values stay in the
// cache, by small matrix products that keep their sums in registers. Arrays are
// row-major float32, (batch, time, channels); channel counts are multiples of 16.
//
// Each entry checks the shapes it is given, and takes all the memory that it needs
// before work begins: an exception on a thread of the pool would end the process.

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "products.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// c[i][j] += sum over rows t of a[t][i] * b[t][j]: a kernel's gradient. With `Half`, b is
// packed; so is a, into the room of `left`.
template <bool Half>
void Outer(Factor<Half>& left, const float* a, int64_t lda, int64_t depth, const float* b,
           int64_t ldb, int64_t columns, int64_t rows, float* c, int64_t ldc) {
  const int64_t terms = Count(rows, kTerms<Half>);
  if (Half && kTiles) {
    const int64_t stride = Count(rows, kPanel) * kWidth;
    Run<Half>({left.Columns(a, rows, lda), stride, 0, b, ldb, 1, terms}, depth,
              columns, c, ldc, true);
  } else {
    Run<Half>({left.Rows(a, rows, lda), 1, 0, b, ldb, 1, terms, lda}, depth, columns,
              c, ldc, true);
  }
}

// In place: (rows, 2C) of sums become tanh of the first half, sigmoid of the second.
void Activate(float* gate, int64_t rows, int64_t channels) {
  for (int64_t row = 0; row < rows; ++row, gate += 2 * channels)
    for (int64_t c = 0; c < channels; c += kWidth) {
      Store(gate + c, 2.0f * Sigmoid(2.0f * Load(gate + c)) - 1.0f);
      Store(gate + channels + c, Sigmoid(Load(gate + channels + c)));
    }
}

void Gated(const float* gate, int64_t rows, int64_t channels, float* z) {
  for (int64_t row = 0; row < rows; ++row, gate += 2 * channels, z += channels)
    for (int64_t c = 0; c < channels; c += kWidth)
      Store(z + c, Load(gate + c) * Load(gate + channels + c));
}

// Stretches whose part of a kernel's gradient is summed on one thread. The parts do
// not depend on the number of threads, so neither do the sums.
constexpr int64_t kGroup = 32;

// Calls work(job, room) for every job below `count`, on the pool's threads and this one,
// each of which has a copy of `room` to work in. Nothing that `work` does may throw.
template <typename Room, typename F>
void InParallel(ffi::ThreadPool& pool, int64_t count, const Room& room, const F& work) {
  struct State {
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable finished;
    int64_t left;
  };
  auto state = std::make_shared<State>();
  state->left = count;
  const int64_t helpers =
      std::max<int64_t>(std::min<int64_t>(pool.num_threads(), count) - 1, 0);
  std::vector<Room> rooms(helpers + 1, room);
  // A task that the pool starts too late finds no job left. So nobody waits for a
  // thread, only for jobs that are being done.
  auto run = [state, count, &work, &rooms](int64_t thread) {
    for (int64_t job; (job = state->next++) < count;) {
      work(job, rooms[thread]);
      std::lock_guard<std::mutex> lock(state->mutex);
      if (--state->left == 0) state->finished.notify_all();
    }
  };
  try {
    for (int64_t i = 0; i < helpers; ++i) pool.Schedule([run, i] { run(i); });
  } catch (const std::bad_alloc&) {
    // Those that were started, and this thread, do all of it.
  }
  run(helpers);
  std::unique_lock<std::mutex> lock(state->mutex);
  state->finished.wait(lock, [&] { return state->left == 0; });
}

// XLA checks their ranks.
template <size_t rank>
using Buffer = ffi::Buffer<ffi::F32, rank>;
template <size_t rank>
using Result = ffi::ResultBuffer<ffi::F32, rank>;

template <typename Dimensions>
std::string Text(const Dimensions& dimensions) {
  std::string text;
  for (int64_t d : dimensions) text += (text.empty() ? "" : ", ") + std::to_string(d);
  return "(" + text + ")";
}

template <typename Array>
void ExpectShape(const char* name, const Array& array,
                 std::initializer_list<int64_t> expected) {
  const auto got = array.dimensions();
  Expect(std::equal(got.begin(), got.end(), expected.begin(), expected.end()),
         name + (" of shape " + Text(expected)) + ", got " + Text(got));
}

// What a handler returns, or that it was not given what it expects or ran out of memory.
template <auto handler>
struct Handled;
template <typename... Given, ffi::Error (*handler)(Given...)>
struct Handled<handler> {
  static ffi::Error Call(Given... given) try {
    return handler(given...);
  } catch (const std::invalid_argument& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "no memory for what the compiled code works in");
  }
};

// Two gradients from what each group of stretches gave: parts of `size` floats, one
// gradient after the other. Always in the same order.
template <typename One, typename Other>
void AddUp(const Floats& parts, int64_t size, One& one, Other& other) {
  const int64_t first = one->element_count();
  std::fill_n(one->typed_data(), first, 0.0f);
  std::fill_n(other->typed_data(), size - first, 0.0f);
  for (auto part = parts.begin(); part != parts.end(); part += size) {
    for (int64_t i = 0; i < first; ++i) one->typed_data()[i] += part[i];
    for (int64_t i = first; i < size; ++i) other->typed_data()[i - first] += part[i];
  }
}

struct Shape {
  int64_t batch, given, channels, skips, dilation, skip_start, skip_length;

  Shape(const Buffer<3>& x, const Buffer<3>& skip, int64_t dilation,
        int64_t skip_start)
      : batch(x.dimensions()[0]),
        given(x.dimensions()[1]),
        channels(x.dimensions()[2]),
        skips(skip.dimensions()[2]),
        dilation(dilation),
        skip_start(skip_start),
        skip_length(skip.dimensions()[1]) {}

  void Check() const {
    ExpectChannels("channels", channels);
    ExpectChannels("skip channels", skips);
    Expect(dilation > 0 && dilation <= (given - 1) / 2,
               "a dilation of at least 1 that leaves of " + std::to_string(given) +
                   " samples at least one, got " + std::to_string(dilation));
    Expect(skip_start >= 0 && skip_start <= length() - skip_length,
               "skips within " + std::to_string(length()) + " samples, got " +
                   std::to_string(skip_length) + " from " + std::to_string(skip_start));
  }

  int64_t length() const { return given - 2 * dilation; }
  int64_t both() const { return channels + skips; }

  // Of the rows of a stretch, those whose skips are wanted: from..to.
  int64_t SkipFrom(int64_t start, int64_t rows) const {
    return std::clamp<int64_t>(skip_start - start, 0, rows);
  }
  int64_t SkipTo(int64_t start, int64_t rows) const {
    return std::clamp<int64_t>(skip_start + skip_length - start, 0, rows);
  }
  int64_t SkipAt(int64_t item, int64_t row) const {
    return (item * skip_length + row - skip_start) * skips;
  }
};

// x (batch, time, C), skip_sum (batch, skip time, S), filters (3, C, 2C), mixing
// (C, C + S) -> out (batch, time - 2 * dilation, C), skip_out like skip_sum, gate
// (batch, time - 2 * dilation, 2C), which backward needs. Without `residual`, out is
// left as it is; without `keep`, gate is.
template <bool Half>
ffi::Error BlockForward(ffi::ThreadPool pool, Buffer<3> x, Buffer<3> skip_sum,
                        Buffer<3> filters, Buffer<2> mixing, int64_t dilation,
                        int64_t skip_start, bool residual, bool keep, Result<3> out,
                        Result<3> skip_out, Result<3> gate) {
  constexpr int64_t T = kTerms<Half>;
  const Shape s(x, skip_sum, dilation, skip_start);
  s.Check();
  const int64_t C = s.channels, length = s.length(), both = s.both();
  ExpectShape("skip_sum", skip_sum, {s.batch, s.skip_length, s.skips});
  ExpectShape("filters", filters, {3, C, 2 * C});
  ExpectShape("mixing", mixing, {C, both});
  ExpectShape("out", *out, {s.batch, length, C});
  ExpectShape("skip_out", *skip_out, {s.batch, s.skip_length, s.skips});
  ExpectShape("gate", *gate, {s.batch, keep ? length : 0, 2 * C});
  Factor<Half> f(3 * C * 2 * C), m(C * both);
  const float* filter = f.Rows(filters.typed_data(), 3 * C, 2 * C);
  const float* mix = m.Rows(mixing.typed_data(), C, both);
  const int64_t stretches = Count(length, kRows);
  struct Room {
    Floats z, gate;
    Factor<Half> taps, gated;
  };
  const Room empty{Floats(kRows * C), Floats(keep ? 0 : kRows * 2 * C),
                   Factor<Half>(3 * kRows * C), Factor<Half>(kRows * C)};
  InParallel(pool, s.batch * stretches, empty, [&](int64_t job, Room& room) {
    auto& [z, own, taps, gated] = room;
    const int64_t item = job / stretches, start = job % stretches * kRows;
    const int64_t rows = std::min(kRows, length - start);
    const float* in = x.typed_data() + (item * s.given + start) * C;
    float* g = keep ? gate->typed_data() + (item * length + start) * 2 * C : own.data();
    const float* left = taps.Taps(in, dilation * C, rows * C);
    const int64_t step = Half ? rows * C / 2 : dilation * C;
    Run<Half>({left, C / T, step, filter, 2 * C, 3, C / T}, rows, 2 * C, g, 2 * C,
              false);
    Activate(g, rows, C);
    Gated(g, rows, C, z.data());
    const float* zs = gated.Neighbours(z.data(), rows * C);
    if (residual) {
      float* to = out->typed_data() + (item * length + start) * C;
      std::memcpy(to, in + dilation * C, rows * C * sizeof(float));
      Run<Half>({zs, C / T, 0, mix, both, 1, C / T}, rows, C, to, C, true);
    }
    const int64_t from = s.SkipFrom(start, rows), count = s.SkipTo(start, rows) - from;
    if (count <= 0) return;
    const int64_t at = s.SkipAt(item, start + from);
    float* to = skip_out->typed_data() + at;
    std::memcpy(to, skip_sum.typed_data() + at, count * s.skips * sizeof(float));
    Run<Half>({zs + from * C / T, C / T, 0, mix + C, both, 1, C / T}, count, s.skips, to,
              s.skips, true);
  });
  return ffi::Error::Success();
}

// What the sums of `gate` need of the gradient: dg (rows, 2C) from dz (rows, C).
void GateGradient(const float* gate, const float* dz, int64_t rows, int64_t channels,
                  float* dg) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < channels; c += kWidth) {
      const Vec h = Load(gate + c), w = Load(gate + channels + c), d = Load(dz + c);
      Store(dg + c, d * w * (1.0f - h * h));
      Store(dg + channels + c, d * h * w * (1.0f - w));
    }
    gate += 2 * channels, dg += 2 * channels, dz += channels;
  }
}

// The gradients of x, filters and mixing. filters_t is (3, 2C, C) and mixing_t
// (C + S, C), the kernels transposed; dgate (batch, time - 2 * dilation, 2C) is room.
template <bool Half>
ffi::Error BlockBackward(ffi::ThreadPool pool, Buffer<3> x, Buffer<3> gate,
                         Buffer<3> filters_t, Buffer<2> mixing_t, Buffer<3> out_grad,
                         Buffer<3> skip_grad, int64_t dilation, int64_t skip_start,
                         bool residual, Result<3> x_grad, Result<3> filters_grad,
                         Result<2> mixing_grad, Result<3> dgate) {
  constexpr int64_t T = kTerms<Half>;
  const Shape s(x, skip_grad, dilation, skip_start);
  s.Check();
  const int64_t C = s.channels, S = s.skips, length = s.length(), both = s.both();
  const int64_t filters_size = 3 * C * 2 * C, size = filters_size + C * both;
  const int64_t groups = Count(length, kRows * kGroup);
  ExpectShape("gate", gate, {s.batch, length, 2 * C});
  ExpectShape("filters_t", filters_t, {3, 2 * C, C});
  ExpectShape("mixing_t", mixing_t, {both, C});
  ExpectShape("out_grad", out_grad, {s.batch, length, C});
  ExpectShape("skip_grad", skip_grad, {s.batch, s.skip_length, S});
  ExpectShape("x_grad", *x_grad, {s.batch, s.given, C});
  ExpectShape("filters_grad", *filters_grad, {3, C, 2 * C});
  ExpectShape("mixing_grad", *mixing_grad, {C, both});
  ExpectShape("dgate", *dgate, {s.batch, length, 2 * C});
  Factor<Half> f(filters_size), m(both * C);
  const float* filter_t = f.Rows(filters_t.typed_data(), 3 * 2 * C, C);
  const float* mix_t = m.Rows(mixing_t.typed_data(), both, C);
  Floats parts(s.batch * groups * size);
  struct Room {
    Floats z, dz, gate_grad;
    Factor<Half> left, one, other;
  };
  const int64_t widest = kRows * std::max(2 * C, S);
  const Room empty{Floats(kRows * C),    Floats(kRows * C),
                   Floats(Half ? kRows * 2 * C : 0),
                   Factor<Half>(widest), Factor<Half>(widest), Factor<Half>(widest)};
  InParallel(pool, s.batch * groups, empty, [&](int64_t job, Room& room) {
    auto& [z, dz, gate_grad, left, one, other] = room;
    const int64_t item = job / groups, first = job % groups * kRows * kGroup;
    const int64_t last = std::min(length, first + kRows * kGroup);
    float* df = parts.data() + job * size;
    float* dm = df + filters_size;
    for (int64_t start = first; start < last; start += kRows) {
      const int64_t rows = std::min(kRows, last - start), row = item * length + start;
      const float* in = x.typed_data() + (item * s.given + start) * C;
      const float* g = gate.typed_data() + row * 2 * C;
      Gated(g, rows, C, z.data());
      if (residual) {
        const float* d = out_grad.typed_data() + row * C;
        Run<Half>({left.Neighbours(d, rows * C), C / T, 0, mix_t, C, 1, C / T}, rows, C,
                  dz.data(), C, false);
        Outer<Half>(one, z.data(), C, C, other.Rows(d, rows, C), C, C, rows, dm, both);
      } else {
        std::fill(dz.begin(), dz.end(), 0.0f);
      }
      const int64_t from = s.SkipFrom(start, rows);
      const int64_t count = s.SkipTo(start, rows) - from;
      if (count > 0) {
        const float* d = skip_grad.typed_data() + s.SkipAt(item, start + from);
        Run<Half>({left.Neighbours(d, count * S), S / T, 0, mix_t + C * C / T, C, 1,
                   S / T},
                  count, C, dz.data() + from * C, C, true);
        Outer<Half>(one, z.data() + from * C, C, C, other.Rows(d, count, S), S, S, count,
                    dm + C, both);
      }
      float* kept = dgate->typed_data() + row * 2 * C / T;
      float* sums_grad = Half ? gate_grad.data() : kept;
      GateGradient(g, dz.data(), rows, C, sums_grad);
      if (Half) Factor<Half>::Pack(sums_grad, rows * 2 * C, kept);
      const float* dg = other.Rows(sums_grad, rows, 2 * C);
      for (int64_t tap = 0; tap < 3; ++tap)
        Outer<Half>(one, in + tap * dilation * C, C, C, dg, 2 * C, 2 * C, rows,
                    df + tap * C * 2 * C, 2 * C);
    }
  });
  const int64_t stretches = Count(s.given, kRows);
  struct Nothing {};
  InParallel(pool, s.batch * stretches, Nothing{}, [&](int64_t job, Nothing&) {
    const int64_t item = job / stretches, start = job % stretches * kRows;
    const int64_t rows = std::min(kRows, s.given - start);
    float* dx = x_grad->typed_data() + (item * s.given + start) * C;
    std::fill_n(dx, rows * C, 0.0f);
    for (int64_t tap = 0; tap < 3; ++tap) {
      // The rows of dgate that saw these rows of x through the tap.
      const int64_t shift = tap * dilation;
      const int64_t from = std::clamp<int64_t>(start - shift, 0, length);
      const int64_t count = std::clamp<int64_t>(start + rows - shift, 0, length) - from;
      if (count <= 0) continue;
      float* to = dx + (from + shift - start) * C;
      if (residual && tap == 1) {
        const float* d = out_grad.typed_data() + (item * length + from) * C;
        for (int64_t i = 0; i < count * C; i += kWidth)
          Store(to + i, Load(to + i) + Load(d + i));
      }
      Run<Half>({dgate->typed_data() + (item * length + from) * 2 * C / T, 2 * C / T, 0,
                 filter_t + tap * 2 * C * C / T, C, 1, 2 * C / T},
                count, C, to, C, true);
    }
  });
  AddUp(parts, size, filters_grad, mixing_grad);
  return ffi::Error::Success();
}

void CheckHead(int64_t S, int64_t H, int64_t outputs) {
  ExpectChannels("skip channels", S);
  ExpectChannels("hidden channels", H);
  ExpectChannels("outputs", outputs);
}

// skips (batch, time, S), first (3, S, H), last (H, outputs) -> (batch, time, outputs):
// relu, convolution with zeros at both ends, relu, product.
template <bool Half>
ffi::Error HeadForward(ffi::ThreadPool pool, Buffer<3> skips, Buffer<3> first,
                       Buffer<2> last, Result<3> out) {
  auto dims = skips.dimensions();
  const int64_t batch = dims[0], length = dims[1], S = dims[2];
  const int64_t H = last.dimensions()[0], outputs = last.dimensions()[1];
  const int64_t stretches = Count(length, kRows);
  constexpr int64_t T = kTerms<Half>;
  CheckHead(S, H, outputs);
  ExpectShape("first", first, {3, S, H});
  ExpectShape("out", *out, {batch, length, outputs});
  Factor<Half> f(3 * S * H), l(H * outputs);
  const float* one = f.Rows(first.typed_data(), 3 * S, H);
  const float* two = l.Rows(last.typed_data(), H, outputs);
  struct Room {
    Floats s, h;
    Factor<Half> taps, hidden;
  };
  const Room empty{Floats((kRows + 2) * S), Floats(kRows * kHidden),
                   Factor<Half>((kRows + 2) * S), Factor<Half>(kRows * kHidden)};
  InParallel(pool, batch * stretches, empty, [&](int64_t job, Room& room) {
    auto& [s, h, taps, hidden] = room;
    const int64_t item = job / stretches, start = job % stretches * kRows;
    const int64_t rows = std::min(kRows, length - start);
    Rectified(skips.typed_data() + item * length * S, start, rows, length, S, s.data());
    float* to = out->typed_data() + (item * length + start) * outputs;
    const float* left = taps.Neighbours(s.data(), (rows + 2) * S);
    for (int64_t at = 0; at < H; at += kHidden) {
      const int64_t width = std::min(kHidden, H - at);
      Run<Half>({left, S / T, S / T, one + at, H, 3, S / T}, rows, width, h.data(),
                kHidden, false);
      Rectify(h.data(), rows * kHidden);
      Run<Half>({hidden.Neighbours(h.data(), rows * kHidden), kHidden / T, 0,
                 two + at * outputs / T, outputs, 1, width / T},
                rows, outputs, to, outputs, at > 0);
    }
  });
  return ffi::Error::Success();
}

// first_t is (3, H, S), last_t (outputs, H): the kernels transposed.
template <bool Half>
ffi::Error HeadBackward(ffi::ThreadPool pool, Buffer<3> skips, Buffer<3> first,
                        Buffer<3> first_t, Buffer<2> last_t, Buffer<3> out_grad,
                        Result<3> skips_grad, Result<3> first_grad,
                        Result<2> last_grad) {
  auto dims = skips.dimensions();
  const int64_t batch = dims[0], length = dims[1], S = dims[2];
  const int64_t outputs = last_t.dimensions()[0], H = last_t.dimensions()[1];
  const int64_t first_size = 3 * S * H, size = first_size + H * outputs;
  const int64_t groups = Count(length, kRows * kGroup);
  constexpr int64_t T = kTerms<Half>;
  CheckHead(S, H, outputs);
  ExpectShape("first", first, {3, S, H});
  ExpectShape("first_t", first_t, {3, H, S});
  ExpectShape("out_grad", out_grad, {batch, length, outputs});
  ExpectShape("skips_grad", *skips_grad, {batch, length, S});
  ExpectShape("first_grad", *first_grad, {3, S, H});
  ExpectShape("last_grad", *last_grad, {H, outputs});
  Factor<Half> f(3 * S * H), f_t(3 * H * S), l_t(outputs * H);
  const float* one = f.Rows(first.typed_data(), 3 * S, H);
  const float* one_t = f_t.Rows(first_t.typed_data(), 3 * H, S);
  const float* two_t = l_t.Rows(last_t.typed_data(), outputs, H);
  Floats parts(batch * groups * size);
  struct Room {
    Floats s, d, h, dh;
    Factor<Half> taps, grads, hidden, hidden_rows, grad_rows, tap_rows, out_rows;
  };
  const int64_t hidden_size = (kRows + 2) * kHidden;
  const Room empty{Floats((kRows + 4) * S), Floats((kRows + 2) * outputs),
                   Floats(hidden_size),     Floats(hidden_size),
                   Factor<Half>((kRows + 4) * S), Factor<Half>((kRows + 2) * outputs),
                   Factor<Half>(hidden_size),     Factor<Half>(kRows * kHidden),
                   Factor<Half>(kRows * kHidden), Factor<Half>(kRows * S),
                   Factor<Half>(kRows * outputs)};
  InParallel(pool, batch * groups, empty, [&](int64_t job, Room& room) {
    auto& [s, d, h, dh, taps, grads, hidden, hidden_rows, grad_rows, tap_rows,
           out_rows] = room;
    const int64_t item = job / groups, begin = job % groups * kRows * kGroup;
    const int64_t end = std::min(length, begin + kRows * kGroup);
    float* df = parts.data() + job * size;
    float* dl = df + first_size;
    for (int64_t start = begin; start < end; start += kRows) {
      const int64_t rows = std::min(kRows, end - start);
      // One row more on each side, whose hidden values these rows of skips reached.
      const float* in = skips.typed_data() + item * length * S;
      Rectified(in, start - 1, rows + 2, length, S, s.data());
      for (int64_t row = -1; row <= rows; ++row) {
        float* to = d.data() + (row + 1) * outputs;
        if (start + row < 0 || start + row >= length)
          std::fill_n(to, outputs, 0.0f);
        else
          std::memcpy(to,
                      out_grad.typed_data() + (item * length + start + row) * outputs,
                      outputs * sizeof(float));
      }
      float* ds = skips_grad->typed_data() + (item * length + start) * S;
      const float* left = taps.Neighbours(s.data(), (rows + 4) * S);
      const float* out_left = grads.Neighbours(d.data(), (rows + 2) * outputs);
      const float* out_right = out_rows.Rows(d.data() + outputs, rows, outputs);
      for (int64_t at = 0; at < H; at += kHidden) {
        const int64_t width = std::min(kHidden, H - at);
        Run<Half>({left, S / T, S / T, one + at, H, 3, S / T}, rows + 2, width, h.data(),
                  kHidden, false);
        Run<Half>({out_left, outputs / T, 0, two_t + at, H, 1, outputs / T}, rows + 2,
                  width, dh.data(), kHidden, false);
        for (int64_t i = 0; i < (rows + 2) * kHidden; i += kWidth) {
          const Vec value = Load(h.data() + i);
          Store(dh.data() + i, value > 0.0f ? Load(dh.data() + i) : Vec{});
          Store(h.data() + i, Relu(value));
        }
        Outer<Half>(hidden_rows, h.data() + kHidden, kHidden, width, out_right, outputs,
                    outputs, rows, dl + at * outputs, outputs);
        const float* dh_left = hidden.Neighbours(dh.data(), (rows + 2) * kHidden);
        const float* dh_right = grad_rows.Rows(dh.data() + kHidden, rows, kHidden);
        for (int64_t tap = 0; tap < 3; ++tap) {
          Outer<Half>(tap_rows, s.data() + (tap + 1) * S, S, S, dh_right, kHidden, width,
                      rows, df + tap * S * H + at, H);
          Run<Half>({dh_left + (2 - tap) * kHidden / T, kHidden / T, 0,
                     one_t + (tap * H + at) * S / T, S, 1, width / T},
                    rows, S, ds, S, at + tap > 0);
        }
      }
      for (int64_t i = 0; i < rows * S; i += kWidth)
        Store(ds + i, Load(s.data() + 2 * S + i) > 0.0f ? Load(ds + i) : Vec{});
    }
  });
  AddUp(parts, size, first_grad, last_grad);
  return ffi::Error::Success();
}

}  // namespace

#define ARG(rank) Arg<Buffer<rank>>()
#define RET(rank) Ret<Buffer<rank>>()
#define SETTINGS Attr<int64_t>("dilation").Attr<int64_t>("skip_start").Attr<bool>("residual")
#define HANDLER(name, function, half, binding)                                         \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, Handled<function<half>>::Call,                   \
                                ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().binding)
#define HANDLERS(suffix, half)                                                         \
  HANDLER(WavenetBlockForward##suffix, BlockForward, half,                             \
          ARG(3).ARG(3).ARG(3).ARG(2).SETTINGS.Attr<bool>("keep").RET(3).RET(3).RET(3));\
  HANDLER(WavenetBlockBackward##suffix, BlockBackward, half,                           \
          ARG(3).ARG(3).ARG(3).ARG(2).ARG(3).ARG(3).SETTINGS                           \
              .RET(3).RET(3).RET(2).RET(3));                                           \
  HANDLER(WavenetHeadForward##suffix, HeadForward, half, ARG(3).ARG(3).ARG(2).RET(3)); \
  HANDLER(WavenetHeadBackward##suffix, HeadBackward, half,                             \
          ARG(3).ARG(3).ARG(3).ARG(2).ARG(3).RET(3).RET(3).RET(2))

HANDLERS(, false);
#if defined(__AVX512BF16__)
HANDLERS(Half, true);
#endif
