// Item scores on the device. Every activation and gradient is read once (packs.h).
//
// Warps that divide the tokens of an item merge their states in shared memory. sum and mean are added in the
// order of the tokens, so there a warp takes all tokens and the warps of a block divide the neurons.
#include <cmath>

#include "kernels.h"
#include "launch.h"
#include "packs.h"

namespace culnig::cuda {
namespace {

template <Aggregator A>
using TilingOf = std::conditional_t<adds_up(A), InOrder, AnyOrder>;

/// Notes the non-finite contributions of a lane in the status. This reads them again, but only after an
/// error.
template <typename Rows>
__device__ void report_non_finite(const Rows& rows, const ScoreBatch& batch, Status status) {
    unsigned long long n_wrong = 0;
    unsigned long long n_by_activation = 0;
    unsigned long long first_wrong = ~0ull;
    rows.each_element([&](std::uint32_t token, int i, float activation, float gradient) {
        if (magnitude_bits(contribution(activation, gradient)) < non_finite_bits) return;
        const auto index = static_cast<unsigned long long>(token * batch.n_neurons + rows.first + i);
        first_wrong = index < first_wrong ? index : first_wrong;
        ++n_wrong;
        n_by_activation += magnitude_bits(activation) >= non_finite_bits ? 1 : 0;
    });
    if (n_wrong == 0) return;
    const Status of_item = status + rows.item * status_words;
    atomicAdd(&of_item[0], n_wrong);  // whole numbers: the result does not depend on the order of the threads
    atomicMin(&of_item[1], first_wrong);
    atomicAdd(&of_item[2], n_by_activation);
}

/// Writes a neuron's score and peak. `n_real` counts the real tokens, for mean.
template <Aggregator A, typename Rows>
__device__ __forceinline__ void write(const ScoreBatch& batch, const Rows& rows, std::int64_t neuron,
                                      Running running, std::int64_t n_real) {
    if (running.peak < 0) running.peak = rows.first_real();  // all contributions are zero, or there are none
    batch.item_scores.row(rows.item)[neuron] = finish<A>(running, running.peak < 0 ? 0 : n_real);
    if (batch.peak_tokens.data) batch.peak_tokens.row(rows.item)[neuron] = running.peak;
}

template <typename Element, Aggregator A, bool aligned>
__global__ void __launch_bounds__(TilingOf<A>::n_threads, aligned ? TilingOf<A>::min_blocks : 1)
    item_scores_kernel(ScoreBatch batch, Status status) {
    using Tiling = TilingOf<A>;
    using Rows = LaneRows<Element, Tiling, aligned>;
    const Rows rows(batch);
    Running running[Rows::width];
#pragma unroll
    for (int i = 0; i < Rows::width; ++i) running[i] = start<A>(-1);
    std::int64_t n_real = 0;
    bool finite = true;
    rows.each_token([&](std::int32_t token, const auto& activation, const auto& gradient) {
        ++n_real;
#pragma unroll
        for (int i = 0; i < Rows::width; ++i) {
            const float value =
                contribution(value_of<Element>(activation, i), value_of<Element>(gradient, i));
            take<A>(running[i], value, token);
            finite = finite && std::fabs(value) < float_of_bits(non_finite_bits);
        }
    });
    if (!finite) report_non_finite(rows, batch, status);

    if constexpr (Tiling::token_warps == 1) {
#pragma unroll
        for (int i = 0; i < Rows::width; ++i)
            if (i < rows.valid) write<A>(batch, rows, rows.first + i, running[i], n_real);
    } else {
        constexpr int tile = Tiling::template n_neurons<Element>;
        __shared__ float best[Tiling::token_warps][tile];
        __shared__ std::int32_t peak[Tiling::token_warps][tile];
        const int own = static_cast<int>(threadIdx.x) * Rows::width;
#pragma unroll
        for (int i = 0; i < Rows::width; ++i) {
            best[threadIdx.y][own + i] = running[i].best;
            peak[threadIdx.y][own + i] = running[i].peak;
        }
        __syncthreads();
        const int column =
            static_cast<int>(threadIdx.y * n_lanes + threadIdx.x);  // a thread merges one neuron
        const std::int64_t neuron = static_cast<std::int64_t>(blockIdx.x) * tile + column;
        if (column >= tile || neuron >= batch.n_neurons) return;
        Running merged = start<A>(-1);
#pragma unroll
        for (int warp = 0; warp < Tiling::token_warps; ++warp)
            merge<A>(merged, {best[warp][column], peak[warp][column], 0.0});
        write<A>(batch, rows, neuron, merged, 1);
    }
}

template <typename Element, Aggregator A>
void launch(const ScoreBatch& batch, Status status, cudaStream_t stream) {
    using Tiling = TilingOf<A>;
    const dim3 grid = grid_of<Element, Tiling>(batch, "item scores");
    by_alignment<Element, Tiling>(batch, [&](auto aligned) {
        const auto kernel = item_scores_kernel<Element, A, decltype(aligned)::value>;
        CULNIG_LAUNCH(kernel, grid, block_of<Tiling>(), stream, batch, status);
    });
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

bool runs_on(int device) noexcept {
    int before = 0;
    cudaFuncAttributes attributes;
    if (cudaGetDevice(&before) != cudaSuccess || cudaSetDevice(device) != cudaSuccess) return false;
    const auto* kernel = reinterpret_cast<const void*>(item_scores_kernel<Float32, Aggregator::max, true>);
    const bool runs = cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess;
    cudaGetLastError();  // so that the next check does not find this error
    cudaSetDevice(before);
    return runs;
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
