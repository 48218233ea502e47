// Sums over tokens on the device. Every activation and gradient is read once, 16 bytes per load.
//
// A warp owns one tile of neurons of one item and takes the tokens in order, with the loads of four in
// flight.
#include "token_sums.h"

#include "kernels.h"
#include "launch.h"
#include "packs.h"

namespace culnig::cuda {
namespace {

template <typename Element>
__global__ void __launch_bounds__(n_lanes) token_sums_kernel(TokenSumsBatch batch, bool aligned) {
    constexpr int width = per_lane<Element>;
    constexpr int tile = n_lanes * width;
    const int lane = static_cast<int>(threadIdx.x);
    const std::int64_t item = blockIdx.y;
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * tile + lane * width;
    const std::int64_t left = batch.n_neurons - first;
    const int valid = left >= width ? width : (left > 0 ? static_cast<int>(left) : 0);
    const std::uint8_t* mask = batch.token_mask + item * batch.n_tokens;

    TokenSums sums[width];
#pragma unroll
    for (int i = 0; i < width; ++i) sums[i] = {0.0, 0.0, 0};

    for (std::int64_t t = 0; t < batch.n_tokens; t += tokens_in_flight) {
        Pack<Element> activation[tokens_in_flight];
        Pack<Element> gradient[tokens_in_flight];
        bool real[tokens_in_flight];
#pragma unroll
        for (int n = 0; n < tokens_in_flight; ++n) {
            const std::int64_t token = t + n;
            real[n] = token < batch.n_tokens && mask[token];
            if (!real[n]) continue;
            activation[n] = load(row_of<Element>(batch.activation, item, token, first), valid, aligned);
            gradient[n] = load(row_of<Element>(batch.gradient, item, token, first), valid, aligned);
        }
#pragma unroll
        for (int n = 0; n < tokens_in_flight; ++n) {
            if (!real[n]) continue;
#pragma unroll
            for (int i = 0; i < width; ++i)
                take(sums[i], widen(activation[n].element[i]), widen(gradient[n].element[i]));
        }
    }
#pragma unroll
    for (int i = 0; i < width; ++i) {  // a fixed count, or the sums would leave their registers
        if (i >= valid) continue;
        batch.magnitude.row(item)[first + i] = static_cast<float>(sums[i].magnitude);
        batch.positive_tokens.row(item)[first + i] = sums[i].positive;
        batch.gradient_norm.row(item)[first + i] = gradient_norm(sums[i]);
    }
}

template <typename Element>
void launch_for(const TokenSumsBatch& batch, cudaStream_t stream) {
    if (batch.n_items > most_items)
        throw std::runtime_error("CUDA, token sums: more than 65535 items at once");
    const dim3 grid(blocks_for(batch.n_neurons, n_lanes * per_lane<Element>),
                    static_cast<unsigned>(batch.n_items));
    CULNIG_LAUNCH(token_sums_kernel<Element>, grid, dim3(n_lanes), stream, batch, is_aligned<Element>(batch));
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
