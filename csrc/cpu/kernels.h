#pragma once
// The CPU kernels, free of Python. Callers have checked every argument.
#include <cstdint>
#include <vector>

#include "batch.h"
#include "order.h"

namespace culnig::cpu {

/// Scores a batch and adds it to its tables. Where the returned count is not 0, nothing was added.
NonFinite score_reduce(const ScoreBatch& batch, int threads);

/// Writes the item scores of experts' neurons, and their peak tokens where wanted. `item` of the result is an
/// item, `neuron` one of all experts' neurons.
NonFinite routed_scores(const RoutedBatch& batch, int threads);

/// Adds batch.item_scores, already computed, to the sums.
void add_scores(const ScoreBatch& batch, int threads);

/// Writes the batch's tables.
void token_sums(const TokenSumsBatch& batch, int threads);

/// Neurons [start, start + width) of a row.
struct Run {
    std::int64_t start;
    std::int64_t width;
};

/// Scores (row, neuron) and the neurons that may not be chosen (optional).
struct ScoreRows {
    Table<const double> scores;
    Table<const std::uint8_t> excluded;
    std::int64_t n_rows;
    std::int64_t n_neurons;
};

/// Writes the k best of each row to best (row, k), padded with -1.
void top_k(const ScoreRows& rows, std::int64_t k, std::int64_t* best, int threads);

/// A pool of neurons, how many to keep by target - control, and how many to remove by exclusion score.
struct RankedPool {
    std::vector<Run> runs;
    std::int64_t count;
    std::int64_t exclusion_count;
};

struct RankRequest {
    Table<const double> target;
    Table<const double> control;
    Table<const double> exclusion;  // optional
    std::int64_t n_rows;
    std::vector<RankedPool> pools;
};

struct RankedNeurons {
    std::vector<std::int64_t> indices;
    std::vector<double> differences;
};

/// Result [row * pools + pool], neurons in rank order.
std::vector<RankedNeurons> rank(const RankRequest& request, int threads);

}  // namespace culnig::cpu
