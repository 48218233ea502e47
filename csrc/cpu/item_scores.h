#pragma once
// The scores of one item and one block of neurons, over all real tokens.
#include <cstdint>

#include "batch.h"
#include "token_rows.h"

namespace culnig::cpu {

/// The item's real tokens that have no row in the block, where an expert did not see them: their
/// contributions are zero.
struct Unrouted {
    std::int64_t count;
    std::int32_t first;
    std::int32_t last;
};

struct ItemBlock : PairBlock {
    float* scores;              // (width,), written
    std::int32_t* peaks;        // (width,), written; null where not wanted
    const std::int32_t* token;  // token of each row, where the block's `tokens` are rows; else null
    Unrouted unrouted;
};

/// Returns whether every contribution was finite.
bool reduce_item_block(const ItemBlock& block, Dtype dtype, Aggregator aggregator);

}  // namespace culnig::cpu
