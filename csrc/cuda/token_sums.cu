// Sums over tokens on the device. Every activation and gradient is read once, in the order of the tokens
// (packs.h).
#include "token_sums.h"

#include "kernels.h"
#include "launch.h"
#include "packs.h"

namespace culnig::cuda {
namespace {

template <typename Element, bool aligned>
__global__ void __launch_bounds__(InOrder::n_threads, aligned ? InOrder::min_blocks : 1)
    token_sums_kernel(TokenSumsBatch batch) {
    using Rows = LaneRows<Element, InOrder, aligned>;
    const Rows rows(batch);
    TokenSums sums[Rows::width];
#pragma unroll
    for (int i = 0; i < Rows::width; ++i) sums[i] = {0.0, 0.0, 0};
    rows.each_token([&](std::int32_t, const auto& activation, const auto& gradient) {
#pragma unroll
        for (int i = 0; i < Rows::width; ++i)
            take(sums[i], value_of<Element>(activation, i), value_of<Element>(gradient, i));
    });
#pragma unroll
    for (int i = 0; i < Rows::width; ++i) {  // a fixed count, or the sums would leave their registers
        if (i >= rows.valid) continue;
        batch.magnitude.row(rows.item)[rows.first + i] = static_cast<float>(sums[i].magnitude);
        batch.positive_tokens.row(rows.item)[rows.first + i] = sums[i].positive;
        batch.gradient_norm.row(rows.item)[rows.first + i] = gradient_norm(sums[i]);
    }
}

template <typename Element>
void launch_for(const TokenSumsBatch& batch, cudaStream_t stream) {
    const dim3 grid = grid_of<Element, InOrder>(batch, "token sums");
    by_alignment<Element, InOrder>(batch, [&](auto aligned) {
        const auto kernel = token_sums_kernel<Element, decltype(aligned)::value>;
        CULNIG_LAUNCH(kernel, grid, block_of<InOrder>(), stream, batch);
    });
}

}  // namespace

void token_sums(const TokenSumsBatch& batch, Stream handle) {
    if (batch.n_items == 0 || batch.n_neurons == 0) return;
    const auto stream = static_cast<cudaStream_t>(handle);
    switch (batch.dtype) {
        case Dtype::float32: launch_for<Float32>(batch, stream); break;
        case Dtype::float16: launch_for<Float16>(batch, stream); break;
        case Dtype::bfloat16: launch_for<BFloat16>(batch, stream); break;
    }
    check(cudaGetLastError(), "token sums");
}

}  // namespace culnig::cuda
