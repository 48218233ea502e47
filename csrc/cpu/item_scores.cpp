// The loop of scores that reads every activation and gradient once.
#include "item_scores.h"

#include <algorithm>

namespace culnig::cpu {
namespace {

template <Aggregator A, bool Peaks>
struct State {
    alignas(64) float best[most_neurons];
    alignas(64) std::int32_t peak[Peaks ? most_neurons : 1];
    alignas(64) double total[adds_up(A) ? most_neurons : 1];
};

/// Takes N tokens for neurons [first, first + width) of the state; returns the largest magnitude, as bits.
template <Aggregator A, bool Peaks, typename Element, int N>
CULNIG_HD std::int32_t take_rows(const Rows<Element, N>& rows, const std::int32_t* tokens, std::int64_t first,
                                 std::int64_t width, State<A, Peaks>& state) {
    std::int32_t largest = 0;
#pragma GCC ivdep
    for (std::int64_t j = 0; j < width; ++j) {
        const std::int64_t at = first + j;
        Running running{state.best[at], Peaks ? state.peak[at] : 0, adds_up(A) ? state.total[at] : 0.0};
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
            const float value = contribution(widen(rows.activation[n][j]), widen(rows.gradient[n][j]));
            const std::int32_t magnitude = magnitude_bits(value);
            largest = magnitude > largest ? magnitude : largest;
            take<A>(running, value, tokens[n]);
        }
        if (!adds_up(A) || Peaks) state.best[at] = running.best;
        if (Peaks) state.peak[at] = running.peak;
        if (adds_up(A)) state.total[at] = running.total;
    }
    return largest;
}

/// Token of a row that the block lists, or of none (-1).
CULNIG_HD std::int32_t token_of(const ItemBlock& block, std::int32_t row) {
    return block.token && row >= 0 ? block.token[row] : row;
}

template <typename Element, Aggregator A, bool Peaks>
CULNIG_HD bool reduce(const ItemBlock& block) {
    State<A, Peaks> state;
    const Running initial = start<A>(block.n_real ? block.tokens[0] : -1);
    const std::int32_t last_token = token_of(block, block.n_real ? block.tokens[block.n_real - 1] : -1);
    for (std::int64_t j = 0; j < block.width; ++j) {
        state.best[j] = initial.best;
        if (Peaks) state.peak[j] = initial.peak;
        if (adds_up(A)) state.total[j] = initial.total;
    }
    std::int32_t largest = 0;
    take_block<Element>(block, [&](const auto& rows, const std::int32_t* tokens, std::int64_t first,
                                   std::int64_t width) CULNIG_INLINE_LAMBDA {
        largest = std::max(largest, take_rows<A, Peaks>(rows, tokens, first, width, state));
    });
    const Unrouted& unrouted = block.unrouted;
    for (std::int64_t j = 0; j < block.width; ++j) {
        Running running{state.best[j], Peaks ? token_of(block, state.peak[j]) : last_token,
                        adds_up(A) ? state.total[j] : 0.0};
        if (unrouted.count) take_unrouted<A>(running, block.n_real, unrouted.first, unrouted.last);
        block.scores[j] = finish<A>(running, block.n_real + unrouted.count);
        if (Peaks) block.peaks[j] = running.peak;
    }
    return largest < non_finite_bits;
}

// Clones cannot be templates, so each combination has its own function.
using Reduce = bool (*)(const ItemBlock&);

#define CULNIG_REDUCE(element, aggregator)                                      \
    CULNIG_CLONES bool element##_##aggregator(const ItemBlock& block) {         \
        return reduce<element, Aggregator::aggregator, false>(block);           \
    }                                                                           \
    CULNIG_CLONES bool element##_##aggregator##_peaks(const ItemBlock& block) { \
        return reduce<element, Aggregator::aggregator, true>(block);            \
    }
#define CULNIG_REDUCE_ALL(element) \
    CULNIG_REDUCE(element, max)    \
    CULNIG_REDUCE(element, absmax) \
    CULNIG_REDUCE(element, sum)    \
    CULNIG_REDUCE(element, mean)   \
    CULNIG_REDUCE(element, last)
#define CULNIG_ROW(element)                                                                 \
    {                                                                                       \
        {element##_max, element##_max_peaks},   {element##_absmax, element##_absmax_peaks}, \
        {element##_sum, element##_sum_peaks},   {element##_mean, element##_mean_peaks},     \
        {element##_last, element##_last_peaks},                                             \
    }

CULNIG_REDUCE_ALL(Float32)
CULNIG_REDUCE_ALL(Float16)
CULNIG_REDUCE_ALL(BFloat16)

constexpr Reduce reduce_functions[3][5][2] = {CULNIG_ROW(Float32), CULNIG_ROW(Float16), CULNIG_ROW(BFloat16)};

}  // namespace

bool reduce_item_block(const ItemBlock& block, Dtype dtype, Aggregator aggregator) {
    const int peaks = block.peaks != nullptr;
    return reduce_functions[static_cast<int>(dtype)][static_cast<int>(aggregator)][peaks](block);
}

}  // namespace culnig::cpu
