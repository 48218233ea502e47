#pragma once
// What one call of a kernel works on: pointers and strides, owned by the caller. Strides count elements.
#include <cstdint>

#include "score.h"

namespace culnig {

/// A view (item, token, neuron) whose neurons lie side by side.
struct TokenView {
    const void* data;
    std::int64_t item_stride;
    std::int64_t token_stride;
};

/// A table (row, neuron) whose neurons lie side by side; data may be null where the table is optional.
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

struct ScoreBatch : PairBatch {
    Aggregator aggregator;
    const double* confidence;              // (item,)
    const std::int64_t* culture_index;     // (item,)
    const std::uint8_t* clamp_at_zero;     // (item,)
    Table<double> sums;                    // (culture, neuron), added into
    Table<double> sums_of_squares;         // optional
    Table<std::uint32_t> positive_counts;  // optional
    Table<float> item_scores;              // (item, neuron), optional, written
    Table<std::int32_t> peak_tokens;       // (item, neuron), optional, written
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
