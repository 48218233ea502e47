#pragma once
// What the CPU backend offers. No Python here; the callers have checked every argument.
#include <cstdint>
#include <vector>

#include "batch.h"
#include "order.h"

namespace culnig::cpu {

/// Adds a batch into its tables. When the result's count is not 0, nothing was added.
NonFinite score_reduce(const ScoreBatch& batch, int threads);

/// Adds batch.item_scores, which are there already, into the tables of culture sums.
void add_scores(const ScoreBatch& batch, int threads);

/// Writes the tables of a batch.
void token_sums(const TokenSumsBatch& batch, int threads);

/// Neurons [start, start + width) of a row.
struct Run {
    std::int64_t start;
    std::int64_t width;
};

/// Scores (row, neuron) and which neurons may not be chosen (null: all may).
template <typename T>
struct ScoreRows {
    Table<const T> scores;
    Table<const std::uint8_t> excluded;
    std::int64_t n_rows;
    std::int64_t n_neurons;
};

/// Writes the k best of each row to best (row, k), padded with -1.
void top_k(const ScoreRows<float>& rows, std::int64_t k, std::int64_t* best, int threads);
void top_k(const ScoreRows<double>& rows, std::int64_t k, std::int64_t* best, int threads);

/// A pool of neurons, how many to keep by target - control, and how many to remove by exclusion score.
struct RankedPool {
    std::vector<Run> runs;
    std::int64_t count;
    std::int64_t exclusion_count;
};

struct RankRequest {
    Table<const double> target;
    Table<const double> control;
    Table<const double> exclusion;  // data null: nothing is removed
    std::int64_t n_rows;
    std::vector<RankedPool> pools;
};

struct RankedNeurons {
    std::vector<std::int64_t> positions;
    std::vector<double> differences;
};

/// Result [row * pools + pool], neurons in rank order.
std::vector<RankedNeurons> rank(const RankRequest& request, int threads);

}  // namespace culnig::cpu
