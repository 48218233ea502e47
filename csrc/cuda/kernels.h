#pragma once
// The CUDA kernels. Every pointer is a device pointer, every call only enqueues work on the stream, and the
// caller's allocator provides all memory.
#include <cstdint>

#include "batch.h"

namespace culnig::cuda {

/// A cudaStream_t, without its header.
using Stream = void*;

bool device_available() noexcept;

/// Two words on the device: the number of non-finite contributions, and the index of the first as
/// (item * n_tokens + token) * n_neurons + neuron.
using Status = unsigned long long*;

/// Writes batch.item_scores (required here), batch.peak_tokens and the status.
void score_items(const ScoreBatch& batch, Status status, Stream stream);

/// Adds batch.item_scores to the sums, unless the status counts non-finite contributions.
void add_scores(const ScoreBatch& batch, const unsigned long long* status, Stream stream);

/// Writes the batch's tables.
void token_sums(const TokenSumsBatch& batch, Stream stream);

}  // namespace culnig::cuda
