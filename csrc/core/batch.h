#pragma once
// What one call of a kernel reads and writes: pointers and strides into the caller's memory. Strides count
// elements, and the neurons of a row are always contiguous.
#include <cstdint>

#include "score.h"

namespace culnig {

/// A view (item, token, neuron).
struct TokenView {
    const void* data;
    std::int64_t item_stride;
    std::int64_t token_stride;
};

/// A table (row, neuron); data is null for an optional table that is not wanted.
template <typename T>
struct Table {
    T* data;
    std::int64_t row_stride;

    CULNIG_HD T* row(std::int64_t index) const { return data + index * row_stride; }
};

/// Activations and gradients of one module's neurons in a batch.
struct PairBatch {
    TokenView activation;
    TokenView gradient;
    Dtype dtype;
    std::int64_t n_items;
    std::int64_t n_tokens;
    std::int64_t n_neurons;
    const std::uint8_t* token_mask;  // (item, token), 1 = real
};

/// Activations and gradients of one module's neurons in all experts of a layer. Rows are grouped by expert,
/// then by item, and ascend by token.
struct RoutedBatch {
    const void* activation;  // (row, neuron)
    const void* gradient;
    std::int64_t activation_stride;  // from row to row, in elements
    std::int64_t gradient_stride;
    Dtype dtype;
    Aggregator aggregator;
    std::int64_t n_items;
    std::int64_t n_experts;
    std::int64_t n_neurons;        // of one expert
    const std::int64_t* starts;    // (expert * item + 1,): first row of each expert's item
    const std::int32_t* tokens;    // (row,): its token, -1 for padding
    const std::int32_t* unrouted;  // (expert * item, 3): real tokens elsewhere: how many, the first, the last
    Table<float> item_scores;      // (item, expert * neuron), written
    Table<std::int32_t> peak_tokens;  // the same; optional
};

/// Tables of one call, all optional. Without `sums` nothing is added.
struct ScoreTables {
    Table<double> sums;                    // (culture, neuron), added to
    Table<double> sums_of_squares;         // the same
    Table<std::uint32_t> positive_counts;  // the same
    Table<float> item_scores;              // (item, neuron), written
    Table<std::int32_t> peak_tokens;       // (item, neuron), written
};

/// A batch to score. The last three are (item,) and read only where there are `sums`.
struct ScoreBatch : PairBatch, ScoreTables {
    Aggregator aggregator;
    const double* weight;  // P(gold), or what else multiplies the scores of an item
    const std::int64_t* culture_index;
    const std::uint8_t* clamp_at_zero;
};

/// Tables (item, neuron) of sums over the real tokens, written.
struct TokenSumsBatch : PairBatch {
    Table<float> magnitude;
    Table<std::int32_t> positive_tokens;
    Table<float> gradient_norm;
};

/// Non-finite contributions among real tokens: how many, and the first in (item, token, neuron) order.
struct NonFinite {
    std::int64_t count;
    std::int64_t item;
    std::int64_t token;
    std::int64_t neuron;
};

}  // namespace culnig
