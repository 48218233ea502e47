#pragma once
// What the CUDA backend offers. Every pointer is a device pointer and every call only enqueues work on the
// stream; memory is the caller's, so that it comes from the caller's allocator.
#include <cstddef>
#include <cstdint>

#include "batch.h"

namespace culnig::cuda {

/// A cudaStream_t, without its header.
using Stream = void*;

bool device_available() noexcept;

/// Two words on the device: the number of non-finite contributions, and the place of the first of them as
/// (item * n_tokens + token) * n_neurons + neuron.
using Status = unsigned long long*;

/// Writes batch.item_scores (needed) and batch.peak_tokens (optional), and the status.
void score_items(const ScoreBatch& batch, Status status, Stream stream);

/// Adds batch.item_scores into the tables, unless the status tells of non-finite contributions.
void add_scores(const ScoreBatch& batch, const unsigned long long* status, Stream stream);

/// Writes the tables of a batch.
void token_sums(const TokenSumsBatch& batch, Stream stream);

struct TopK {
    const void* scores;  // (row, neuron), float32 or float64
    bool narrow;         // float32
    std::int64_t row_stride;
    const std::uint8_t* excluded;  // (row, neuron), optional
    std::int64_t excluded_row_stride;
    std::int64_t n_rows;
    std::int64_t n_neurons;
    std::int64_t k;
    std::int64_t* best;  // (row, k), written; padded with -1
};

/// Bytes of device memory that top_k needs beside its arguments.
std::size_t top_k_workspace(std::int64_t n_rows, std::int64_t k);

void top_k(const TopK& request, void* workspace, Stream stream);

}  // namespace culnig::cuda
