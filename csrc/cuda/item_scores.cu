// Item scores on the device. Every activation and gradient is read once, 16 bytes per load.
//
// A block owns one tile of neurons of one item. Its warps divide the tokens among them; each lane holds the
// running state of as many neurons as fit in 16 bytes, with the loads of four tokens in flight. The warps'
// states are then merged in shared memory. sum and mean need the order of the tokens, so one warp takes them
// all.
#include "kernels.h"
#include "launch.h"
#include "packs.h"

namespace culnig::cuda {
namespace {

template <Aggregator A>
constexpr int n_warps = adds_up(A) ? 1 : 8;

// The launch bounds ask for 512 threads per multiprocessor: with four tokens of 16 bytes from two arrays, 64
// KiB in flight, more than memory latency needs.

template <typename Element, Aggregator A>
__global__ void __launch_bounds__(n_lanes* n_warps<A>, 512 / (n_lanes * n_warps<A>))
    item_scores_kernel(ScoreBatch batch, bool aligned, Status status) {
    constexpr int width = per_lane<Element>;
    constexpr int tile = n_lanes * width;
    const int lane = static_cast<int>(threadIdx.x);
    const int warp = static_cast<int>(threadIdx.y);
    const std::int64_t item = blockIdx.y;
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * tile + lane * width;
    const std::int64_t left = batch.n_neurons - first;
    const int valid = left >= width ? width : (left > 0 ? static_cast<int>(left) : 0);
    const std::uint8_t* mask = batch.token_mask + item * batch.n_tokens;

    Running running[width];
    std::int32_t n_real = 0;
    unsigned long long n_wrong = 0;  // in the upper half: how many of them by their activation
    unsigned long long first_wrong = ~0ull;
#pragma unroll
    for (int i = 0; i < width; ++i) running[i] = start<A>(-1);

    for (std::int64_t t = warp; t < batch.n_tokens; t += n_warps<A> * tokens_in_flight) {
        Pack<Element> activation[tokens_in_flight];
        Pack<Element> gradient[tokens_in_flight];
        bool real[tokens_in_flight];
#pragma unroll
        for (int n = 0; n < tokens_in_flight; ++n) {
            const std::int64_t token = t + n * n_warps<A>;
            real[n] = token < batch.n_tokens && mask[token];
            if (!real[n]) continue;
            activation[n] = load(row_of<Element>(batch.activation, item, token, first), valid, aligned);
            gradient[n] = load(row_of<Element>(batch.gradient, item, token, first), valid, aligned);
        }
#pragma unroll
        for (int n = 0; n < tokens_in_flight; ++n) {
            if (!real[n]) continue;
            const std::int32_t token = static_cast<std::int32_t>(t + n * n_warps<A>);
            const bool is_first = n_real++ == 0;
#pragma unroll
            for (int i = 0; i < width; ++i) {
                const float factor = widen(activation[n].element[i]);
                const float value = contribution(factor, widen(gradient[n].element[i]));
                if (is_first) running[i] = start<A>(token);
                take<A>(running[i], value, token);
                if (magnitude_bits(value) >= non_finite_bits && i < valid) {
                    const auto index = static_cast<unsigned long long>(token * batch.n_neurons + first + i);
                    first_wrong = index < first_wrong ? index : first_wrong;
                    n_wrong += magnitude_bits(factor) >= non_finite_bits ? (1ull << 32) + 1 : 1;
                }
            }
        }
    }
    if (n_wrong) {  // whole numbers: the result does not depend on the order of the threads
        const Status of_item = status + item * status_words;
        atomicAdd(&of_item[0], n_wrong & 0xffffffffull);
        atomicMin(&of_item[1], first_wrong);
        atomicAdd(&of_item[2], n_wrong >> 32);
    }

    __shared__ float best[n_warps<A>][tile];
    __shared__ std::int32_t peak[n_warps<A>][tile];
    __shared__ std::int32_t real_tokens[n_warps<A>];
    if (n_warps<A> > 1) {
#pragma unroll
        for (int i = 0; i < width; ++i) {
            best[warp][lane * width + i] = running[i].best;
            peak[warp][lane * width + i] = running[i].peak;
        }
        if (lane == 0) real_tokens[warp] = n_real;
        __syncthreads();
        if (warp > 0) return;
        for (int other = 1; other < n_warps<A>; ++other) {
            if (real_tokens[other] == 0) continue;
#pragma unroll
            for (int i = 0; i < width; ++i) {
                const Running theirs{best[other][lane * width + i], peak[other][lane * width + i], 0.0};
                if (n_real == 0)
                    running[i] = theirs;
                else
                    merge<A>(running[i], theirs);
            }
            n_real += real_tokens[other];
        }
    }
#pragma unroll
    for (int i = 0; i < width; ++i) {  // a fixed count, or the states would leave their registers
        if (i >= valid) continue;
        batch.item_scores.row(item)[first + i] = finish<A>(running[i], n_real);
        if (batch.peak_tokens.data) batch.peak_tokens.row(item)[first + i] = running[i].peak;
    }
}

template <typename Element, Aggregator A>
void launch(const ScoreBatch& batch, Status status, cudaStream_t stream) {
    constexpr int tile = n_lanes * per_lane<Element>;
    const bool aligned = is_aligned<Element>(batch);
    if (batch.n_items > most_items)
        throw std::runtime_error("CUDA, item scores: more than 65535 items at once");
    const dim3 grid(blocks_for(batch.n_neurons, tile), static_cast<unsigned>(batch.n_items));
    const dim3 block(n_lanes, n_warps<A>);
    const auto kernel = item_scores_kernel<Element, A>;
    CULNIG_LAUNCH(kernel, grid, block, stream, batch, aligned, status);
}

template <typename Element>
void launch_for(const ScoreBatch& batch, Status status, cudaStream_t stream) {
    switch (batch.aggregator) {
        case Aggregator::max: return launch<Element, Aggregator::max>(batch, status, stream);
        case Aggregator::absmax: return launch<Element, Aggregator::absmax>(batch, status, stream);
        case Aggregator::sum: return launch<Element, Aggregator::sum>(batch, status, stream);
        case Aggregator::mean: return launch<Element, Aggregator::mean>(batch, status, stream);
        case Aggregator::last: return launch<Element, Aggregator::last>(batch, status, stream);
    }
}

}  // namespace

bool device_available() noexcept {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

void score_items(const ScoreBatch& batch, Status status, Stream handle) {
    if (batch.n_items == 0 || batch.n_neurons == 0) return;
    const auto stream = static_cast<cudaStream_t>(handle);
    switch (batch.dtype) {
        case Dtype::float32: launch_for<Float32>(batch, status, stream); break;
        case Dtype::float16: launch_for<Float16>(batch, status, stream); break;
        case Dtype::bfloat16: launch_for<BFloat16>(batch, status, stream); break;
    }
    check(cudaGetLastError(), "item scores");
}

}  // namespace culnig::cuda
