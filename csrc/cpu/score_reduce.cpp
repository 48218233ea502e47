// score_reduce: first the item scores, in parallel over items and neurons; then, if every contribution is
// finite, the sums. The result does not depend on the number of threads.
#include <atomic>
#include <memory>

#include "item_scores.h"
#include "kernels.h"
#include "pair_blocks.h"

namespace culnig::cpu {
namespace {

template <typename Element>
NonFinite find_non_finite(const ScoreBatch& batch, const RealTokens& real) {
    NonFinite wrong{0, -1, -1, -1};
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
                if (wrong.count++ == 0) wrong = {1, item, token, j};
            }
        }
    return wrong;
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
    std::atomic<bool> finite{true};
    for_each_block(batch, real, threads, [&](const PairBlock& pair, std::int64_t item, std::int64_t first) {
        const ItemBlock block{pair,
                              batch.item_scores.row(item) + first,
                              batch.peak_tokens.data ? batch.peak_tokens.row(item) + first : nullptr,
                              nullptr,
                              {}};
        if (!reduce_item_block(block, batch.dtype, batch.aggregator))
            finite.store(false, std::memory_order_relaxed);
    });
    if (!finite.load()) {
        if (batch.dtype == Dtype::float32) return find_non_finite<Float32>(batch, real);
        if (batch.dtype == Dtype::float16) return find_non_finite<Float16>(batch, real);
        return find_non_finite<BFloat16>(batch, real);
    }
    if (batch.sums.data) add_scores(batch, threads);
    return {0, -1, -1, -1};
}

}  // namespace culnig::cpu
