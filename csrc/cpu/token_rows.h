#pragma once
// Rows of several tokens at a time, limited to a block of neurons; halves are widened first.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "half_rows.h"
#include "macros.h"
#include "numbers.h"

namespace culnig::cpu {

/// Most neurons of a block: as many as let the running state fit the second-level cache, because memory is
/// faster on long rows.
constexpr std::int64_t most_neurons = 16384;

/// One item, some neurons, all real tokens.
struct PairBlock {
    const void* activation;  // at the item's token 0 and the block's first neuron
    const void* gradient;
    std::int64_t activation_stride;  // from token to token, in elements
    std::int64_t gradient_stride;
    const std::int32_t* tokens;  // the item's real tokens, ascending
    std::int64_t n_real;
    std::int64_t width;
};

/// Rows of N tokens, limited to a block's neurons.
template <typename Element, int N>
struct Rows {
    const Element* activation[N];
    const Element* gradient[N];
};

template <typename Element, int N>
CULNIG_HD Rows<Element, N> rows_of(const PairBlock& block, const std::int32_t* tokens) {
    Rows<Element, N> rows;
    for (int n = 0; n < N; ++n) {
        rows.activation[n] =
            static_cast<const Element*>(block.activation) + tokens[n] * block.activation_stride;
        rows.gradient[n] = static_cast<const Element*>(block.gradient) + tokens[n] * block.gradient_stride;
    }
    return rows;
}

/// Calls take(rows, tokens, first, width) for N tokens: once for the whole block, for halves strip by strip.
template <typename Element, int N, typename Take>
CULNIG_HD void take_tokens(const PairBlock& block, const std::int32_t* tokens, const Take& take) {
    const Rows<Element, N> rows = rows_of<Element, N>(block, tokens);
    if constexpr (!std::is_same_v<Element, Float16>) {
        take(rows, tokens, 0, block.width);
    } else {
        alignas(64) Float32 wide[2 * N][half_strip];
        Rows<Float32, N> wide_rows;
        for (int n = 0; n < N; ++n) {
            wide_rows.activation[n] = wide[n];
            wide_rows.gradient[n] = wide[N + n];
        }
        for (std::int64_t first = 0; first < block.width; first += half_strip) {
            const std::int64_t width = std::min(half_strip, block.width - first);
            for (int n = 0; n < N; ++n) {
                widen_halves(rows.activation[n] + first, width, &wide[n][0].value);
                widen_halves(rows.gradient[n] + first, width, &wide[N + n][0].value);
            }
            take(wide_rows, tokens, first, width);
        }
    }
}

/// Calls take(rows, tokens, first, width) for all real tokens in order, four at a time so that eight streams
/// of memory are open and the running state is loaded and stored a quarter as often.
template <typename Element, typename Take>
CULNIG_HD void take_block(const PairBlock& block, const Take& take) {
    std::int64_t t = 0;
    for (; t + 4 <= block.n_real; t += 4) take_tokens<Element, 4>(block, block.tokens + t, take);
    for (; t < block.n_real; ++t) take_tokens<Element, 1>(block, block.tokens + t, take);
}

}  // namespace culnig::cpu
