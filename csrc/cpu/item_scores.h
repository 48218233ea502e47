#pragma once
// Phase 1 of score_reduce: one item, one block of neurons, all real tokens.
#include <cstdint>

#include "batch.h"

namespace culnig::cpu {

/// Most neurons of a block. Rows are read along their whole length where that leaves enough blocks for the
/// threads: memory is faster on long rows, and the running state still fits the second-level cache.
constexpr std::int64_t most_neurons = 16384;

struct ItemBlock {
    const void* activation;  // at the item's token 0 and the block's first neuron
    const void* gradient;
    std::int64_t activation_stride;  // from token to token, in elements
    std::int64_t gradient_stride;
    const std::int32_t* tokens;  // the item's real tokens, ascending
    std::int64_t n_real;
    std::int64_t width;
    float* scores;        // (width,), written
    std::int32_t* peaks;  // (width,), written; null when nobody asks
};

/// Returns whether every contribution was finite.
bool reduce_item_block(const ItemBlock& block, Dtype dtype, Aggregator aggregator);

}  // namespace culnig::cpu
