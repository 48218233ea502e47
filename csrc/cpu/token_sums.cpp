// token_sums: sums over tokens, in parallel over items and neurons.
#include "token_sums.h"

#include "kernels.h"
#include "pair_blocks.h"

namespace culnig::cpu {
namespace {

/// Running sums of a block.
struct State {
    alignas(64) double magnitude[most_neurons];
    alignas(64) double squares[most_neurons];
    alignas(64) std::int32_t positive[most_neurons];
};

template <typename Element, int N>
CULNIG_HD void take_rows(const Rows<Element, N>& rows, std::int64_t first, std::int64_t width, State& state) {
#pragma GCC ivdep
    for (std::int64_t j = 0; j < width; ++j) {
        const std::int64_t at = first + j;
        TokenSums sums{state.magnitude[at], state.squares[at], state.positive[at]};
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) take(sums, widen(rows.activation[n][j]), widen(rows.gradient[n][j]));
        state.magnitude[at] = sums.magnitude;
        state.squares[at] = sums.squares;
        state.positive[at] = sums.positive;
    }
}

/// Output of a block.
struct Out {
    float* magnitude;
    std::int32_t* positive;
    float* norm;
};

template <typename Element>
CULNIG_HD void sum_block(const PairBlock& block, const Out& out) {
    State state;
    for (std::int64_t j = 0; j < block.width; ++j) {
        state.magnitude[j] = 0.0;
        state.squares[j] = 0.0;
        state.positive[j] = 0;
    }
    take_block<Element>(block,
                        [&](const auto& rows, const std::int32_t*, std::int64_t first, std::int64_t width)
                            CULNIG_INLINE_LAMBDA { take_rows(rows, first, width, state); });
    for (std::int64_t j = 0; j < block.width; ++j) {
        out.magnitude[j] = static_cast<float>(state.magnitude[j]);
        out.positive[j] = state.positive[j];
        out.norm[j] = gradient_norm({0.0, state.squares[j], 0});
    }
}

// Clones cannot be templates.
CULNIG_CLONES void sum_float32(const PairBlock& block, const Out& out) { sum_block<Float32>(block, out); }
CULNIG_CLONES void sum_float16(const PairBlock& block, const Out& out) { sum_block<Float16>(block, out); }
CULNIG_CLONES void sum_bfloat16(const PairBlock& block, const Out& out) { sum_block<BFloat16>(block, out); }

constexpr void (*sum_functions[3])(const PairBlock&, const Out&) = {sum_float32, sum_float16, sum_bfloat16};

}  // namespace

void token_sums(const TokenSumsBatch& batch, int threads) {
    const RealTokens real(batch);
    for_each_block(batch, real, threads, [&](const PairBlock& block, std::int64_t item, std::int64_t first) {
        const Out out{batch.magnitude.row(item) + first, batch.positive_tokens.row(item) + first,
                      batch.gradient_norm.row(item) + first};
        sum_functions[static_cast<int>(batch.dtype)](block, out);
    });
}

}  // namespace culnig::cpu
