// The Wavenet's forward pass over a stream, block by block.
//
//   block --> conv (3) --> residual blocks --> ReLU --> conv (3) --> ReLU --> conv --> out
//                              |skips, each delayed to match the last one's
//
// Every convolution is delayed by its reach to the right, and each residual block keeps
// the last samples of its input, so that no sample is computed twice. A block's samples
// go through one layer after the other in stretches, which all threads share.
//
// Arrays are row-major float32, (time, channels); channel counts are multiples of 16.
// Each entry checks what it is given; the memory that a stream needs is taken when it
// begins, for an exception on a thread of its pool would end the process.

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <thread>

#define FLOAT16 1  // a network that is not trained has no small gradients to lose
#include "products.h"

namespace {

// Threads that look for work for a while before they sleep: from one layer of a network
// to the next takes less time than to wake one.
class Pool {
 public:
  explicit Pool(int64_t threads) {
    helpers_.reserve(threads);  // to throw while some run would end the process
    try {
      for (int64_t i = 1; i < threads; ++i) helpers_.emplace_back([this, i] { Help(i); });
    } catch (const std::exception&) {
      // Those that there are, and the caller, do all of it.
    }
  }

  ~Pool() {
    ended_ = true;
    Wake();
    for (auto& helper : helpers_) helper.join();
  }

  int64_t threads() const { return static_cast<int64_t>(helpers_.size()) + 1; }

  // Calls work(job, thread) for every job below `count`, which is below 2^16. Nothing
  // that `work` does may throw. Nobody waits for a thread, only for jobs being done.
  template <typename F>
  void Run(int64_t count, const F& work) {
    work_ = [](const void* f, int64_t job, int64_t thread) {
      (*static_cast<const F*>(f))(job, thread);
    };
    context_ = &work;
    left_ = count;
    const uint64_t round = (open_ >> 32) + 1;
    open_ = round << 32 | static_cast<uint64_t>(count) << 16;
    if (asleep_ > 0) Wake();
    Work(0);
    for (int64_t turn = 0; left_ > 0; ++turn) Wait(turn);
  }

 private:
  static constexpr int64_t kTurns = 2000;  // some 0.1 ms

  static bool HasWork(uint64_t open) { return (open & 0xffff) < (open >> 16 & 0xffff); }

  static void Wait([[maybe_unused]] int64_t turn) {
#if defined(__x86_64__)
    if (turn < kTurns) return __builtin_ia32_pause();
#endif
    std::this_thread::yield();
  }

  void Work(int64_t thread) {
    for (uint64_t open = open_; HasWork(open); open = open_)
      // Whoever counts the job has it, and until it is done there is no other round.
      if (open_.compare_exchange_weak(open, open + 1)) {
        work_(context_, open & 0xffff, thread);
        --left_;
      }
  }

  void Help(int64_t thread) {
    for (int64_t turn = 0; !ended_; ++turn) {
      if (HasWork(open_)) {
        Work(thread);
        turn = 0;
      }
      if (turn < kTurns) {
        Wait(turn);
        continue;
      }
      std::unique_lock<std::mutex> lock(mutex_);
      ++asleep_;
      awake_.wait(lock, [this] { return ended_ || HasWork(open_); });
      --asleep_;
      turn = 0;
    }
  }

  void Wake() {
    std::lock_guard<std::mutex> lock(mutex_);
    awake_.notify_all();
  }

  void (*work_)(const void*, int64_t, int64_t) = nullptr;
  const void* context_ = nullptr;
  std::atomic<uint64_t> open_{0};  // number of the round, its jobs, the next of them
  std::atomic<int64_t> left_{0}, asleep_{0};
  std::atomic<bool> ended_{false};
  std::mutex mutex_;
  std::condition_variable awake_;
  std::vector<std::thread> helpers_;
};

// z (rows, C) is the tanh of the first half of (rows, 2C) times the sigmoid of the other.
template <bool Half>
void Gate(const float* sums, int64_t rows, int64_t channels, float* z) {
  for (int64_t row = 0; row < rows; ++row, sums += 2 * channels, z += channels)
    for (int64_t c = 0; c < channels; c += kWidth) {
      const Vec a = Exp2<Half>(-2.0f * kLog2E * Load(sums + c));
      const Vec b = Exp2<Half>(-kLog2E * Load(sums + channels + c));
      Store(z + c, (1.0f - a) * Reciprocal((1.0f + a) * (1.0f + b)));
    }
}

// Sizes of a network: channels, skip channels, hidden channels; what its last convolution
// has of taps and outputs.
struct Sizes {
  int64_t C, S, H, taps, outputs, blocks;

  int64_t columns() const { return Count(taps * outputs, kWidth) * kWidth; }
  int64_t weights() const {
    return 3 * C + blocks * C * (7 * C + S) + 3 * S * H + taps * H * outputs + outputs;
  }
};

class Stream {
 public:
  explicit Stream(int64_t block_length) : block_length(block_length) {}
  virtual ~Stream() = default;
  // block (length) -> out (outputs, length).
  virtual void Step(const float* block, int64_t length, float* out) = 0;
  const int64_t block_length;
};

struct Network : Sizes {
  struct Layer {
    int64_t dilation, delay;  // the latter from the first layer on, with its own
    Floats filters, residual, skip;
  };

  // The arguments are those of `WavenetNetwork`, and checked.
  Network(const Sizes& sizes, const int64_t* dilations, const float* weights, bool half)
      : Sizes(sizes), half(half), initial(Panels<false>(weights, 3, C, C)) {
    const auto panels = half ? Panels<true> : Panels<false>;
    weights += 3 * C;
    for (int64_t b = 0; b < blocks; ++b, weights += C * (7 * C + S)) {
      const float* mixing = weights + 3 * C * 2 * C;
      layers.push_back({dilations[b], delay += dilations[b],
                        panels(weights, 3 * C, 2 * C, 2 * C),
                        panels(mixing, C, C, C + S), panels(mixing + C, C, S, C + S)});
      widest = std::max(widest, 2 * dilations[b]);
    }
    first = panels(weights, 3 * S, H, H);
    weights += 3 * S * H;
    // All taps side by side, in panels for each group of hidden channels.
    Floats products(H * columns());
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t h = 0; h < H; ++h, weights += outputs)
        std::copy_n(weights, outputs, &products[h * columns() + tap * outputs]);
    for (int64_t at = 0; at < H; at += kHidden)
      last.push_back(panels(&products[at * columns()], std::min(kHidden, H - at),
                            columns(), columns()));
    bias.assign(weights, weights + outputs);
  }

  const bool half;
  std::vector<Layer> layers;
  int64_t delay = 0, widest = 0;
  Floats initial, first, bias;
  std::vector<Floats> last;
};

template <bool Half>
class StreamIn final : public Stream {
 public:
  StreamIn(const Network& network, int64_t block_length, int64_t threads)
      : Stream(block_length),
        n_(network),
        pool_(threads),
        spare_(n_.delay - n_.layers[0].delay),
        input_(2 + block_length),
        skips_((2 + spare_ + 4 * block_length) * S),
        products_((n_.taps - 1 + block_length) * P) {
    for (auto& slab : slabs_) slab.resize((n_.widest + block_length) * C);
    for (auto& slab : packed_) slab.resize(Half ? slabs_[0].size() / 2 + kWidth : 0);
    for (const auto& layer : n_.layers) contexts_.emplace_back(2 * layer.dilation * C);
    const Room room{Floats(kRows * 2 * C),           Floats(kRows * C),
                    Floats((kRows + 2) * S),         Floats(kRows * kHidden),
                    Factor<Half>(kRows * C),         Factor<Half>((kRows + 2) * S),
                    Factor<Half>(kRows * kHidden)};
    rooms_.assign(pool_.threads(), room);
  }

  void Step(const float* block, int64_t length, float* out) override {
    const std::lock_guard<std::mutex> lock(turn_);
    // A part for each job, of whole tiles but for the last one.
    const int64_t threads = pool_.threads(), tiles = Count(length, kTile);
    const int64_t jobs = threads * Count(tiles, threads * (kRows / kTile));
    const auto part = [&](int64_t job) {
      return std::min(length, tiles * job / jobs * kTile);
    };
    std::copy_n(block, length, &input_[2]);
    if ((at_ + 2 + spare_ + length) * S > static_cast<int64_t>(skips_.size())) {
      std::memmove(&skips_[0], &skips_[at_ * S], (2 + spare_) * S * sizeof(float));
      at_ = 0;
    }
    const size_t layers = n_.layers.size();
    for (size_t phase = 0; phase < layers + 2; ++phase)
      pool_.Run(jobs, [&](int64_t job, int64_t thread) {
        const int64_t start = part(job), rows = part(job + 1) - start;
        if (phase == 0)
          Initial(start, rows);
        else if (phase <= layers)
          Block(phase - 1, start, rows, rooms_[thread]);
        else
          Head(start, rows, rooms_[thread]);
        // A share of the contexts of the layer that ran, and of the next one.
        if (phase > 0 && phase <= layers) Context(phase - 1, job, jobs, length);
        if (phase < layers) Context(phase, job, jobs, 0);
      });
    Sum(length, out);
    at_ += length;
    std::memmove(&input_[0], &input_[length], 2 * sizeof(float));
    std::memmove(&products_[0], &products_[length * P], (n_.taps - 1) * P * sizeof(float));
  }

 private:
  struct Room {  // of one thread
    Floats gate, z, skips, hidden;
    Factor<Half> gated, rectified, hidden_pairs;
  };

  static constexpr int64_t T = kTerms<Half>;

  // Where the block begins in what a layer is given; before it lies its context.
  float* Slab(size_t layer) { return &slabs_[layer % 2][n_.widest * C]; }
  float* Packed(size_t layer) { return &packed_[layer % 2][n_.widest * C / T]; }

  void Pack(size_t layer, int64_t start, int64_t rows) {
    if (Half)
      Factor<Half>::Pack(Slab(layer) + start * C, rows * C, Packed(layer) + start * C / T);
  }

  // One job's share of a layer's context: out of the slab after a block that long, or,
  // where that is 0, into it.
  void Context(size_t layer, int64_t job, int64_t jobs, int64_t block) {
    const int64_t length = 2 * n_.layers[layer].dilation;
    const int64_t from = length * job / jobs, rows = length * (job + 1) / jobs - from;
    float* kept = contexts_[layer].data() + from * C;
    float* slab = Slab(layer) + (block + from - length) * C;
    std::memcpy(block ? kept : slab, block ? slab : kept, rows * C * sizeof(float));
    if (!block) Pack(layer, from - length, rows);
  }

  void Initial(int64_t start, int64_t rows) {
    Run<false>({&input_[start], 1, 0, n_.initial.data(), 0, 1, 3}, rows, C,
               Slab(0) + start * C, C, false);
    Pack(0, start, rows);
  }

  void Block(size_t number, int64_t start, int64_t rows, Room& room) {
    const auto& layer = n_.layers[number];
    const int64_t d = layer.dilation;
    const float* left = (Half ? Packed(number) : Slab(number)) + (start - 2 * d) * C / T;
    Run<Half>({left, C / T, d * C / T, layer.filters.data(), 0, 3, C / T}, rows, 2 * C,
              room.gate.data(), 2 * C, false);
    Gate<Half>(room.gate.data(), rows, C, room.z.data());
    const float* z = room.gated.Neighbours(room.z.data(), rows * C);
    if (number + 1 < n_.layers.size()) {  // what the last one adds has no use
      float* to = Slab(number + 1) + start * C;
      std::memcpy(to, Slab(number) + (start - d) * C, rows * C * sizeof(float));
      Run<Half>({z, C / T, 0, layer.residual.data(), 0, 1, C / T}, rows, C, to, C, true);
      Pack(number + 1, start, rows);
    }
    float* to = &skips_[(at_ + 2 + n_.delay - layer.delay + start) * S];
    Run<Half>({z, C / T, 0, layer.skip.data(), 0, 1, C / T}, rows, S, to, S, number > 0);
  }

  void Head(int64_t start, int64_t rows, Room& room) {
    Rectified(&skips_[(at_ + start) * S], 1, rows, rows + 2, S, room.skips.data());
    const float* left = room.rectified.Neighbours(room.skips.data(), (rows + 2) * S);
    float *to = &products_[(n_.taps - 1 + start) * P], *hidden = room.hidden.data();
    for (int64_t at = 0; at < n_.H; at += kHidden) {
      const int64_t width = std::min(kHidden, n_.H - at);
      Run<Half>({left, S / T, S / T, &n_.first[at * 3 * S / T], 0, 3, S / T}, rows, width,
                hidden, kHidden, false);
      Rectify(hidden, rows * kHidden);
      Run<Half>({room.hidden_pairs.Neighbours(hidden, rows * kHidden), kHidden / T, 0,
                 n_.last[at / kHidden].data(), 0, 1, width / T},
                rows, P, to, P, at > 0);
    }
  }

  // The taps of the last convolution are shifted sums of what they were multiplied to.
  void Sum(int64_t length, float* out) {
    for (int64_t o = 0; o < n_.outputs; ++o)
      for (int64_t row = 0; row < length; ++row, ++out) {
        *out = n_.bias[o];
        for (int64_t tap = 0; tap < n_.taps; ++tap)
          *out += products_[(row + tap) * P + tap * n_.outputs + o];
      }
  }

  const Network& n_;
  const int64_t C = n_.C, S = n_.S, P = n_.columns();
  Pool pool_;
  const int64_t spare_;  // rows of skips that are not finished when a block ends
  Floats input_, skips_, products_, slabs_[2], packed_[2];
  int64_t at_ = 0;  // first row of skips that is needed
  std::vector<Floats> contexts_;
  std::vector<Room> rooms_;
  std::mutex turn_;  // of callers
};

constexpr int64_t kMost = 1 << 20;  // samples of a block or a dilation

void ExpectWithin(const std::string& name, int64_t count, int64_t most) {
  Expect(count > 0 && count <= most,
         "1 to " + std::to_string(most) + " " + name + ", got " + std::to_string(count));
}

// What `make` returns, or null and why.
template <typename F>
void* Made(char* wrong, int64_t room, const F& make) {
  try {
    return make();
  } catch (const std::invalid_argument& error) {
    std::snprintf(wrong, room, "%s", error.what());
  } catch (const std::bad_alloc&) {
    std::snprintf(wrong, room, "no memory for what the compiled code works in");
  }
  return nullptr;
}

}  // namespace

extern "C" {

bool WavenetHasHalf() { return kHasHalf; }

// sizes: as in `Sizes`. weights: initial (3, C), for each block filters (3, C, 2C) and
// mixing (C, C + S), then first (3, S, H), last (taps, H, outputs) and bias (outputs);
// they are copied. On an error null is returned, and `wrong`, of `room` bytes, says why.
void* WavenetNetwork(const int64_t (&sizes)[6], const int64_t* dilations,
                     const float* weights, int64_t count, bool half, char* wrong,
                     int64_t room) {
  const Sizes s{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]};
  return Made(wrong, room, [&] {
    ExpectChannels("channels", s.C);
    ExpectChannels("skip channels", s.S);
    ExpectChannels("hidden channels", s.H);
    ExpectWithin("taps", s.taps, 1024);
    ExpectWithin("outputs", s.outputs, 1024);
    ExpectWithin("blocks", s.blocks, 1024);
    for (int64_t b = 0; b < s.blocks; ++b) ExpectWithin("dilation", dilations[b], kMost);
    Expect(count == s.weights(), std::to_string(s.weights()) + " weights, got " +
                                     std::to_string(count));
    Expect(kHasHalf || !half, "a processor with AVX512_FP16 or AVX512_BF16");
    return new Network(s, dilations, weights, half);
  });
}

void WavenetEndNetwork(Network* network) { delete network; }

// A stream from silence on, of blocks with at most so many samples. It must end before
// its network.
void* WavenetStream(const Network* network, int64_t block_length, int64_t threads,
                    char* wrong, int64_t room) {
  return Made(wrong, room, [&]() -> Stream* {
    ExpectWithin("samples of a block", block_length, kMost);
    ExpectWithin("threads", threads, 1024);
    if (network->half) return new StreamIn<kHasHalf>(*network, block_length, threads);
    return new StreamIn<false>(*network, block_length, threads);
  });
}

void WavenetEndStream(Stream* stream) { delete stream; }

// block (length) -> out (outputs, length); whether the length was one that it takes.
bool WavenetStep(Stream* stream, const float* block, int64_t length, float* out) {
  const bool fits = length > 0 && length <= stream->block_length;
  if (fits) stream->Step(block, length, out);
  return fits;
}

}  // extern "C"
