// Item scores of experts' neurons on the device. A thread owns a neuron of an expert for an item, and reads
// the rows of the tokens that were routed there.
#include <cmath>

#include "kernels.h"
#include "launch.h"

namespace culnig::cuda {
namespace {

constexpr int threads = 128;

template <typename Element>
struct Rows {
    const Element* activation;
    const Element* gradient;
    std::int64_t activation_stride;
    std::int64_t gradient_stride;

    __device__ float value(std::int64_t row) const {
        return contribution(widen(activation[row * activation_stride]),
                            widen(gradient[row * gradient_stride]));
    }
};

/// Notes a neuron's non-finite contributions in the status. This reads them again, but only after an error.
template <typename Element>
__device__ void report_non_finite(const RoutedBatch& batch, const Rows<Element>& rows, std::int64_t group,
                                  std::int64_t column, Status status) {
    const Status of_item = status + group % batch.n_items * status_words;
    for (std::int64_t row = batch.starts[group]; row < batch.starts[group + 1]; ++row) {
        if (batch.tokens[row] < 0 || magnitude_bits(rows.value(row)) < non_finite_bits) continue;
        const auto token = static_cast<std::int64_t>(batch.tokens[row]);
        const std::int64_t index = token * batch.n_experts * batch.n_neurons + column;
        const float activation = widen(rows.activation[row * rows.activation_stride]);
        atomicAdd(&of_item[0], 1ull);
        atomicMin(&of_item[1], static_cast<unsigned long long>(index));
        atomicAdd(&of_item[2], magnitude_bits(activation) >= non_finite_bits ? 1ull : 0ull);
    }
}

template <typename Element, Aggregator A>
__global__ void __launch_bounds__(threads) routed_items_kernel(RoutedBatch batch, Status status) {
    const std::int64_t neuron = static_cast<std::int64_t>(blockIdx.y) * threads + threadIdx.x;
    if (neuron >= batch.n_neurons) return;
    const std::int64_t group = blockIdx.x;
    const std::int64_t item = group % batch.n_items;
    const std::int64_t column = group / batch.n_items * batch.n_neurons + neuron;
    const Rows<Element> rows{static_cast<const Element*>(batch.activation) + neuron,
                             static_cast<const Element*>(batch.gradient) + neuron, batch.activation_stride,
                             batch.gradient_stride};
    Running running = start<A>(-1);
    std::int64_t n_routed = 0;
    bool finite = true;
#pragma unroll 4
    for (std::int64_t row = batch.starts[group]; row < batch.starts[group + 1]; ++row) {
        const std::int32_t token = batch.tokens[row];
        if (token < 0) continue;
        const float value = rows.value(row);
        if (n_routed++ == 0) running = start<A>(token);
        take<A>(running, value, token);
        finite = finite && std::fabs(value) < float_of_bits(non_finite_bits);
    }
    const std::int32_t* unrouted = batch.unrouted + 3 * group;
    if (unrouted[0] > 0) take_unrouted<A>(running, n_routed, unrouted[1], unrouted[2]);
    batch.item_scores.row(item)[column] = finish<A>(running, n_routed + unrouted[0]);
    if (batch.peak_tokens.data) batch.peak_tokens.row(item)[column] = running.peak;
    if (!finite) report_non_finite(batch, rows, group, column, status);
}

template <typename Element, Aggregator A>
void launch(const RoutedBatch& batch, Status status, cudaStream_t stream) {
    const dim3 grid(blocks_for(batch.n_experts * batch.n_items, 1), blocks_for(batch.n_neurons, threads));
    const auto kernel = routed_items_kernel<Element, A>;
    CULNIG_LAUNCH(kernel, grid, dim3(threads), stream, batch, status);
}

template <typename Element>
void launch_for(const RoutedBatch& batch, Status status, cudaStream_t stream) {
    switch (batch.aggregator) {
        case Aggregator::max: return launch<Element, Aggregator::max>(batch, status, stream);
        case Aggregator::absmax: return launch<Element, Aggregator::absmax>(batch, status, stream);
        case Aggregator::sum: return launch<Element, Aggregator::sum>(batch, status, stream);
        case Aggregator::mean: return launch<Element, Aggregator::mean>(batch, status, stream);
        case Aggregator::last: return launch<Element, Aggregator::last>(batch, status, stream);
    }
}

}  // namespace

void routed_items(const RoutedBatch& batch, Status status, Stream handle) {
    if (batch.n_items == 0 || batch.n_experts == 0 || batch.n_neurons == 0) return;
    const auto stream = static_cast<cudaStream_t>(handle);
    switch (batch.dtype) {
        case Dtype::float32: launch_for<Float32>(batch, status, stream); break;
        case Dtype::float16: launch_for<Float16>(batch, status, stream); break;
        case Dtype::bfloat16: launch_for<BFloat16>(batch, status, stream); break;
    }
    check(cudaGetLastError(), "item scores of experts");
}

}  // namespace culnig::cuda
