// The loop that reads every activation and gradient once. Four tokens pass at a time, so that eight streams
// of memory are open and the running state is loaded and stored a quarter as often.
#include "item_scores.h"

#include <algorithm>

namespace culnig::cpu {
namespace {

template <Aggregator A, bool Peaks>
struct State {
    alignas(64) float best[block_neurons];
    alignas(64) std::int32_t peak[Peaks ? block_neurons : 1];
    alignas(64) double total[adds_up(A) ? block_neurons : 1];
};

/// Takes `N` tokens at once; returns the largest magnitude seen, as bits.
template <typename Element, Aggregator A, bool Peaks, int N>
CULNIG_HD std::int32_t take_tokens(const ItemBlock& block, const std::int32_t* tokens,
                                   State<A, Peaks>& state) {
    const Element* activation[N];
    const Element* gradient[N];
    for (int n = 0; n < N; ++n) {
        activation[n] = static_cast<const Element*>(block.activation) + tokens[n] * block.activation_stride;
        gradient[n] = static_cast<const Element*>(block.gradient) + tokens[n] * block.gradient_stride;
    }
    std::int32_t largest = 0;
    const std::int64_t width = block.width;
#pragma GCC ivdep
    for (std::int64_t j = 0; j < width; ++j) {
        Running running{state.best[j], Peaks ? state.peak[j] : 0, adds_up(A) ? state.total[j] : 0.0};
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
            const float value = contribution(widen(activation[n][j]), widen(gradient[n][j]));
            const std::int32_t magnitude = magnitude_bits(value);
            largest = magnitude > largest ? magnitude : largest;
            take<A>(running, value, tokens[n]);
        }
        if (!adds_up(A) || Peaks) state.best[j] = running.best;
        if (Peaks) state.peak[j] = running.peak;
        if (adds_up(A)) state.total[j] = running.total;
    }
    return largest;
}

template <typename Element, Aggregator A, bool Peaks>
CULNIG_HD bool reduce(const ItemBlock& block) {
    State<A, Peaks> state;
    const Running initial = start<A>(block.n_real ? block.tokens[0] : -1);
    for (std::int64_t j = 0; j < block.width; ++j) {
        state.best[j] = initial.best;
        if (Peaks) state.peak[j] = initial.peak;
        if (adds_up(A)) state.total[j] = initial.total;
    }
    std::int32_t largest = 0;
    std::int64_t t = 0;
    for (; t + 4 <= block.n_real; t += 4)
        largest = std::max(largest, take_tokens<Element, A, Peaks, 4>(block, block.tokens + t, state));
    for (; t < block.n_real; ++t)
        largest = std::max(largest, take_tokens<Element, A, Peaks, 1>(block, block.tokens + t, state));
    for (std::int64_t j = 0; j < block.width; ++j) {
        const Running running{state.best[j], 0, adds_up(A) ? state.total[j] : 0.0};
        block.scores[j] = finish<A>(running, block.n_real);
        if (Peaks) block.peaks[j] = state.peak[j];
    }
    return largest < non_finite_bits;
}

// Clones cannot be templates, so each combination gets a function of its own.
using Reduce = bool (*)(const ItemBlock&);

#define CULNIG_REDUCE(element, aggregator)                                                     \
    CULNIG_CLONES bool element##_##aggregator(const ItemBlock& block) {                        \
        return reduce<element, Aggregator::aggregator, false>(block);                          \
    }                                                                                          \
    CULNIG_CLONES bool element##_##aggregator##_peaks(const ItemBlock& block) {                \
        return reduce<element, Aggregator::aggregator, true>(block);                           \
    }
#define CULNIG_REDUCE_ALL(element)                                                             \
    CULNIG_REDUCE(element, max)                                                                \
    CULNIG_REDUCE(element, absmax)                                                             \
    CULNIG_REDUCE(element, sum)                                                                \
    CULNIG_REDUCE(element, mean)                                                               \
    CULNIG_REDUCE(element, last)
#define CULNIG_ROW(element)                                                                    \
    {                                                                                          \
        {element##_max, element##_max_peaks}, {element##_absmax, element##_absmax_peaks},      \
            {element##_sum, element##_sum_peaks}, {element##_mean, element##_mean_peaks},      \
            {element##_last, element##_last_peaks},                                            \
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
