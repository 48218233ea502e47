#pragma once
// Phase 1 of score_reduce: one item, one block of neurons, all real tokens.
#include <cstdint>

#include "batch.h"

namespace culnig::cpu {

/// Neurons per block: the running state of a block stays in the first-level cache.
constexpr std::int64_t block_neurons = 2048;

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
