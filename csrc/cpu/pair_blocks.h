#pragma once
// A batch divided into blocks (one item, some of its neurons), which the threads share.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "batch.h"
#include "parallel.h"
#include "token_rows.h"

namespace culnig::cpu {

/// The real tokens of every item, one after the other.
struct RealTokens {
    std::vector<std::int32_t> tokens;
    std::vector<std::int64_t> starts;

    explicit RealTokens(const PairBatch& batch) {
        tokens.reserve(static_cast<std::size_t>(batch.n_items * batch.n_tokens));
        starts.push_back(0);
        for (std::int64_t item = 0; item < batch.n_items; ++item) {
            const std::uint8_t* mask = batch.token_mask + item * batch.n_tokens;
            for (std::int64_t t = 0; t < batch.n_tokens; ++t)
                if (mask[t]) tokens.push_back(static_cast<std::int32_t>(t));
            starts.push_back(static_cast<std::int64_t>(tokens.size()));
        }
    }

    const std::int32_t* of(std::int64_t item) const { return tokens.data() + starts[std::size_t(item)]; }
    std::int64_t count(std::int64_t item) const {
        return starts[std::size_t(item) + 1] - starts[std::size_t(item)];
    }
};

inline const char* address(const TokenView& view, std::int64_t item, std::int64_t neuron,
                           std::int64_t element_size) {
    return static_cast<const char*>(view.data) + (item * view.item_stride + neuron) * element_size;
}

/// Neurons per block: wide, because memory is faster on long rows, but at least four blocks for every thread.
inline std::int64_t block_width(const PairBatch& batch, int threads) {
    constexpr std::int64_t fewest_neurons = 1024;
    const std::int64_t for_threads =
        (4 * threads + batch.n_items - 1) / std::max<std::int64_t>(batch.n_items, 1);
    const std::int64_t for_state = (batch.n_neurons + most_neurons - 1) / most_neurons;
    const std::int64_t n_blocks = std::max<std::int64_t>({for_threads, for_state, 1});
    const std::int64_t width = (batch.n_neurons + n_blocks - 1) / n_blocks;
    return std::clamp((width + 63) / 64 * 64, fewest_neurons, most_neurons);
}

/// Calls work(block, item, first neuron) for every block of a batch, in any order.
template <typename Work>
void for_each_block(const PairBatch& batch, const RealTokens& real, int threads, const Work& work) {
    const std::int64_t element_size = batch.dtype == Dtype::float32 ? 4 : 2;
    const std::int64_t n_real = static_cast<std::int64_t>(real.tokens.size());
    const std::int64_t bytes = 2 * n_real * batch.n_neurons * element_size;
    const int n_threads = useful_threads(bytes, threads, thread_bytes_beside_torch);
    const std::int64_t width = block_width(batch, n_threads);
    const std::int64_t n_blocks = (batch.n_neurons + width - 1) / width;
    for_each_task(batch.n_items * n_blocks, n_threads, [&](std::int64_t task) {
        const std::int64_t item = task / n_blocks;
        const std::int64_t first = task % n_blocks * width;
        const PairBlock block{address(batch.activation, item, first, element_size),
                              address(batch.gradient, item, first, element_size),
                              batch.activation.token_stride,
                              batch.gradient.token_stride,
                              real.of(item),
                              real.count(item),
                              std::min(width, batch.n_neurons - first)};
        work(block, item, first);
    });
}

}  // namespace culnig::cpu
