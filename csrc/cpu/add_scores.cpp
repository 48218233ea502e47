// Phase 2 of score_reduce: adds item scores to culture sums, in parallel over neurons, with the items in
// order.
#include <algorithm>

#include "kernels.h"
#include "parallel.h"

namespace culnig::cpu {
namespace {

/// Neurons per task: this block of every culture's row fits the second-level cache.
constexpr std::int64_t block_neurons = 2048;

/// Adds one item's scores of a block of neurons; `Squares` and `Counts` say which tables there are.
template <bool Squares, bool Counts>
CULNIG_HD void add_scores(const float* scores, std::int64_t width, double weight, bool clamp, double* sums,
                          double* squares, std::uint32_t* counts) {
#pragma GCC ivdep
    for (std::int64_t j = 0; j < width; ++j) {
        const double weighted = weigh(weight, scores[j], clamp);
        sums[j] += weighted;
        if (Squares) squares[j] += weighted * weighted;
        if (Counts) counts[j] += weighted > 0.0 ? 1u : 0u;
    }
}

CULNIG_CLONES void add_item(const float* scores, std::int64_t width, double weight, bool clamp, double* sums,
                            double* squares, std::uint32_t* counts) {
    if (squares && counts)
        add_scores<true, true>(scores, width, weight, clamp, sums, squares, counts);
    else if (squares)
        add_scores<true, false>(scores, width, weight, clamp, sums, squares, counts);
    else if (counts)
        add_scores<false, true>(scores, width, weight, clamp, sums, squares, counts);
    else
        add_scores<false, false>(scores, width, weight, clamp, sums, squares, counts);
}

void add_block(const ScoreBatch& batch, std::int64_t first, std::int64_t width) {
    for (std::int64_t item = 0; item < batch.n_items; ++item) {
        const std::int64_t culture = batch.culture_index[item];
        add_item(batch.item_scores.row(item) + first, width, batch.weight[item],
                 batch.clamp_at_zero[item] != 0, batch.sums.row(culture) + first,
                 batch.sums_of_squares.data ? batch.sums_of_squares.row(culture) + first : nullptr,
                 batch.positive_counts.data ? batch.positive_counts.row(culture) + first : nullptr);
    }
}

}  // namespace

void add_scores(const ScoreBatch& batch, int threads) {
    const std::int64_t n_blocks = (batch.n_neurons + block_neurons - 1) / block_neurons;
    for_each_task(n_blocks, useful_threads(batch.n_items * batch.n_neurons * 24, threads),
                  [&](std::int64_t task) {
                      const std::int64_t first = task * block_neurons;
                      add_block(batch, first, std::min(block_neurons, batch.n_neurons - first));
                  });
}

}  // namespace culnig::cpu
