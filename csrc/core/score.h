#pragma once
// clang-format off
// The definition of a score. Every backend computes exactly this, so all give the same bits.
//
//   contribution    float32(activation) * float32(gradient): one float32 product per token, never fused with an
//                   addition
//   score           of an item, over its real tokens (padding never takes part), float32:
//     max           the largest contribution; the first token wins ties
//     absmax        the contribution of largest magnitude, with its sign; the first token wins ties
//     sum           all contributions added in float64 in token order, rounded to float32 at the end
//     mean          the same sum divided by the number of real tokens before it is rounded
//     last          the contribution at the last real token
//   weighted score  float64(weight) * float64(score), set to 0 where it is not positive and the item is clamped
//   tables          per culture and neuron, in float64, items in order: sums add the weighted score,
//                   sums of squares its square, positive counts 1 where it is above 0
//
// A score of zero is +0 whatever the signs of its factors. An item without real tokens scores 0 and adds
// nothing. The peak token is the token that gave the score; for sum and mean, the token of the largest
// contribution; -1 for an item without real tokens. NaN or infinity among the contributions of real tokens is
// an error, and then nothing is added.
//
// A neuron of an expert has an activation only at the tokens that were routed to the expert. Its contribution at
// every other real token is zero, so its score is that of all real tokens with zeros filled in.
// clang-format on
#include <cstdint>

#include "macros.h"
#include "numbers.h"

namespace culnig {

enum class Aggregator : int { max = 0, absmax = 1, sum = 2, mean = 3, last = 4 };

CULNIG_HD float contribution(float activation, float gradient) { return activation * gradient; }

/// Bits of |value|: they order as the magnitudes do, and from `non_finite_bits` on value is infinite or NaN.
CULNIG_HD std::int32_t magnitude_bits(float value) {
    return static_cast<std::int32_t>(bits_of_float(value) & 0x7fffffffu);
}

constexpr std::int32_t non_finite_bits = 0x7f800000;

CULNIG_HD constexpr bool adds_up(Aggregator aggregator) {
    return aggregator == Aggregator::sum || aggregator == Aggregator::mean;
}

/// State of one neuron between two tokens; the aggregator decides which fields are used.
struct Running {
    float best;
    std::int32_t peak;
    double total;
};

/// State before the first real token, whose index is `first`.
template <Aggregator A>
CULNIG_HD Running start(std::int32_t first) {
    const bool signed_order = A == Aggregator::max || adds_up(A);
    return {signed_order ? -float_of_bits(0x7f800000u) : 0.0f, first, 0.0};
}

/// Takes one token into account. Tokens come in ascending order, so a strict comparison keeps the first.
template <Aggregator A>
CULNIG_HD void take(Running& running, float value, std::int32_t token) {
    bool better = true;
    if (A == Aggregator::max || adds_up(A)) better = value > running.best;
    if (A == Aggregator::absmax) better = magnitude_bits(value) > magnitude_bits(running.best);
    running.best = better ? value : running.best;
    running.peak = better ? token : running.peak;
    if (adds_up(A)) running.total += static_cast<double>(value);
}

/// Merges the states of two groups of tokens, in either order; not the totals of sum and mean.
template <Aggregator A>
CULNIG_HD void merge(Running& running, const Running& other) {
    bool better = other.peak > running.peak;  // last
    if (A == Aggregator::max)
        better = other.best > running.best || (other.best == running.best && other.peak < running.peak);
    if (A == Aggregator::absmax) {
        const std::int32_t ours = magnitude_bits(running.best);
        const std::int32_t theirs = magnitude_bits(other.best);
        better = theirs > ours || (theirs == ours && other.peak < running.peak);
    }
    if (better) running = other;
}

/// Takes the real tokens into account at which an expert's contribution is zero, after the `n_routed` others.
template <Aggregator A>
CULNIG_HD void take_unrouted(Running& running, std::int64_t n_routed, std::int32_t first, std::int32_t last) {
    const Running zero{0.0f, A == Aggregator::last ? last : first, running.total};
    if (n_routed == 0)
        running = zero;
    else
        merge<adds_up(A) ? Aggregator::max : A>(running, zero);
}

/// The score of an item after the last of its `n_real` tokens.
template <Aggregator A>
CULNIG_HD float finish(const Running& running, std::int64_t n_real) {
    if (n_real == 0) return 0.0f;
    if (A == Aggregator::sum) return static_cast<float>(running.total) + 0.0f;
    if (A == Aggregator::mean) return static_cast<float>(running.total / static_cast<double>(n_real)) + 0.0f;
    return running.best + 0.0f;
}

/// The weighted score of an item.
CULNIG_HD double weigh(double weight, float score, bool clamp) {
    const double weighted = weight * static_cast<double>(score);
    return clamp && !(weighted > 0.0) ? 0.0 : weighted;
}

}  // namespace culnig
