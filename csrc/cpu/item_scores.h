#pragma once
// Phase 1 of score_reduce: one item, one block of neurons, all real tokens.
#include <cstdint>

#include "batch.h"
#include "token_rows.h"

namespace culnig::cpu {

struct ItemBlock : PairBlock {
    float* scores;        // (width,), written
    std::int32_t* peaks;  // (width,), written; null where not wanted
};

/// Returns whether every contribution was finite.
bool reduce_item_block(const ItemBlock& block, Dtype dtype, Aggregator aggregator);

}  // namespace culnig::cpu
