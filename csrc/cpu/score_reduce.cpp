// score_reduce: item scores first, in parallel over items and neurons; then, if every contribution was
// finite, the sums. The result does not depend on the threads.
#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "item_scores.h"
#include "kernels.h"
#include "parallel.h"

namespace culnig::cpu {
namespace {

/// The real tokens of every item, one after the other.
struct RealTokens {
    std::vector<std::int32_t> tokens;
    std::vector<std::int64_t> starts;

    explicit RealTokens(const ScoreBatch& batch) {
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

const char* place(const TokenView& view, std::int64_t item, std::int64_t neuron, std::int64_t element_size) {
    return static_cast<const char*>(view.data) + (item * view.item_stride + neuron) * element_size;
}

template <typename Element>
NonFinite find_non_finite(const ScoreBatch& batch, const RealTokens& real) {
    NonFinite found{0, -1, -1, -1};
    for (std::int64_t item = 0; item < batch.n_items; ++item)
        for (std::int64_t t = 0; t < real.count(item); ++t) {
            const std::int64_t token = real.of(item)[t];
            const Element* activation = static_cast<const Element*>(batch.activation.data) +
                                        item * batch.activation.item_stride +
                                        token * batch.activation.token_stride;
            const Element* gradient = static_cast<const Element*>(batch.gradient.data) +
                                      item * batch.gradient.item_stride + token * batch.gradient.token_stride;
            for (std::int64_t j = 0; j < batch.n_neurons; ++j) {
                const float value = contribution(widen(activation[j]), widen(gradient[j]));
                if (magnitude_bits(value) < non_finite_bits) continue;
                if (found.count++ == 0) found = {1, item, token, j};
            }
        }
    return found;
}

/// Neurons per block: few blocks, but four for every thread, and not so narrow that rows fall to pieces.
std::int64_t block_width(const ScoreBatch& batch, int threads) {
    constexpr std::int64_t fewest_neurons = 1024;
    const std::int64_t wanted = (4 * threads + batch.n_items - 1) / std::max<std::int64_t>(batch.n_items, 1);
    const std::int64_t needed = (batch.n_neurons + most_neurons - 1) / most_neurons;
    const std::int64_t n_blocks = std::max<std::int64_t>({wanted, needed, 1});
    const std::int64_t width = (batch.n_neurons + n_blocks - 1) / n_blocks;
    return std::clamp((width + 63) / 64 * 64, fewest_neurons, most_neurons);
}

}  // namespace

NonFinite score_reduce(const ScoreBatch& given, int threads) {
    ScoreBatch batch = given;
    const RealTokens real(batch);
    std::unique_ptr<float[]> scratch;
    if (!batch.item_scores.data) {
        scratch.reset(new float[static_cast<std::size_t>(batch.n_items * batch.n_neurons)]);
        batch.item_scores = {scratch.get(), batch.n_neurons};
    }
    const std::int64_t element_size = batch.dtype == Dtype::float32 ? 4 : 2;
    const std::int64_t n_real = static_cast<std::int64_t>(real.tokens.size());
    const int n_threads = useful_threads(2 * n_real * batch.n_neurons * element_size, threads);
    const std::int64_t width = block_width(batch, n_threads);
    const std::int64_t n_blocks = (batch.n_neurons + width - 1) / width;

    std::atomic<bool> finite{true};
    const auto score_block = [&](std::int64_t task) {
        const std::int64_t item = task / n_blocks;
        const std::int64_t first = task % n_blocks * width;
        const ItemBlock block{place(batch.activation, item, first, element_size),
                              place(batch.gradient, item, first, element_size),
                              batch.activation.token_stride,
                              batch.gradient.token_stride,
                              real.of(item),
                              real.count(item),
                              std::min(width, batch.n_neurons - first),
                              batch.item_scores.row(item) + first,
                              batch.peak_tokens.data ? batch.peak_tokens.row(item) + first : nullptr};
        if (!reduce_item_block(block, batch.dtype, batch.aggregator))
            finite.store(false, std::memory_order_relaxed);
    };
    for_each_task(batch.n_items * n_blocks, n_threads, score_block);
    if (!finite.load()) {
        if (batch.dtype == Dtype::float32) return find_non_finite<Float32>(batch, real);
        if (batch.dtype == Dtype::float16) return find_non_finite<Float16>(batch, real);
        return find_non_finite<BFloat16>(batch, real);
    }
    add_scores(batch, threads);
    return {0, -1, -1, -1};
}

}  // namespace culnig::cpu
