#pragma once
// The CUDA kernels. Every pointer is a device pointer, every call only enqueues work on the stream, and the
// caller's allocator provides all memory.
#include <cstdint>

#include "batch.h"

namespace culnig::cuda {

/// A cudaStream_t, without its header.
using Stream = void*;

bool device_available() noexcept;

/// Whether the module has code for this device that its driver can load.
bool runs_on(int device) noexcept;

/// Words on the device, `status_words` for each item, that the caller has set to 0, ~0 and 0. Only non-finite
/// contributions change them:
///   0  non-finite contributions at real tokens, added to
///   1  index of the first as token * n_neurons + neuron, lowered to
///   2  how many of them have an activation that is not finite, added to
using Status = unsigned long long*;
constexpr int status_words = 3;

/// Writes batch.item_scores (required here) and batch.peak_tokens, and updates the status.
void score_items(const ScoreBatch& batch, Status status, Stream stream);

/// Adds batch.item_scores to the sums.
void add_scores(const ScoreBatch& batch, Stream stream);

/// Writes the batch's tables.
void token_sums(const TokenSumsBatch& batch, Stream stream);

}  // namespace culnig::cuda
