// One kernel on synthetic values, for an instrument that counts instructions:
// counted KERNEL N CALLS
//
// score_reduce and token_sums take N tokens of 4 items and 2,048 neurons, top_k
// takes N neurons. What two calls cost more than one is the kernel alone.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels.h"

using namespace culnig;

namespace {

constexpr std::int64_t n_items = 4;
constexpr std::int64_t n_neurons = 2048;

struct Values {
  std::vector<std::uint32_t> bits; // of any format: all below infinity
  std::uint32_t state = 1;

  explicit Values(std::int64_t n_bytes, std::uint32_t mask)
      : bits(std::size_t(n_bytes / 4)) {
    for (std::uint32_t &value : bits)
      value = (state = state * 1664525u + 1013904223u) & mask;
  }
};

void score(std::int64_t n_tokens, Dtype dtype, bool sums, int calls) {
  const std::int64_t element = dtype == Dtype::float32 ? 4 : 2;
  const std::uint32_t small =
      dtype == Dtype::float32 ? 0xbfffffffu : 0xbfffbfffu;
  const Values activation(n_items * n_tokens * n_neurons * element, small);
  const Values gradient(n_items * n_tokens * n_neurons * element, small);
  const std::vector<std::uint8_t> mask(std::size_t(n_items * n_tokens), 1);
  const TokenView views[] = {
      {activation.bits.data(), n_tokens * n_neurons, n_neurons},
      {gradient.bits.data(), n_tokens * n_neurons, n_neurons}};
  if (sums) {
    constexpr std::size_t n_cells = n_items * n_neurons;
    std::vector<float> magnitude(n_cells), norm(n_cells);
    std::vector<std::int32_t> positive(n_cells);
    TokenSumsBatch batch{};
    batch.activation = views[0];
    batch.gradient = views[1];
    batch.dtype = dtype;
    batch.n_items = n_items;
    batch.n_tokens = n_tokens;
    batch.n_neurons = n_neurons;
    batch.token_mask = mask.data();
    batch.magnitude = {magnitude.data(), n_neurons};
    batch.positive_tokens = {positive.data(), n_neurons};
    batch.gradient_norm = {norm.data(), n_neurons};
    for (int call = 0; call < calls; ++call)
      cpu::token_sums(batch, 1);
    return;
  }
  const std::vector<double> weight(n_items, 0.5);
  const std::vector<std::int64_t> culture(n_items, 0);
  const std::vector<std::uint8_t> clamp(n_items, 0);
  std::vector<double> culture_sums(n_neurons);
  ScoreBatch batch{};
  batch.activation = views[0];
  batch.gradient = views[1];
  batch.dtype = dtype;
  batch.aggregator = Aggregator::max;
  batch.n_items = n_items;
  batch.n_tokens = n_tokens;
  batch.n_neurons = n_neurons;
  batch.token_mask = mask.data();
  batch.weight = weight.data();
  batch.culture_index = culture.data();
  batch.clamp_at_zero = clamp.data();
  batch.sums = {culture_sums.data(), n_neurons};
  for (int call = 0; call < calls; ++call)
    if (cpu::score_reduce(batch, 1).count)
      std::abort();
}

void select(std::int64_t n, int calls) {
  std::vector<double> scores(static_cast<std::size_t>(n));
  std::uint32_t state = 1;
  for (double &value : scores)
    value = double(state = state * 1664525u + 1013904223u);
  std::vector<std::int64_t> best(static_cast<std::size_t>(n / 100));
  const cpu::ScoreRows rows{{scores.data(), n}, {nullptr, 0}, 1, n};
  for (int call = 0; call < calls; ++call)
    cpu::top_k(rows, n / 100, best.data(), 1);
}

} // namespace

int main(int count, char **arguments) {
  if (count != 4)
    return 2;
  const std::string kernel = arguments[1];
  const std::int64_t n = std::atoll(arguments[2]);
  const int calls = std::atoi(arguments[3]);
  if (kernel == "score_reduce float32")
    score(n, Dtype::float32, false, calls);
  else if (kernel == "score_reduce bfloat16")
    score(n, Dtype::bfloat16, false, calls);
  else if (kernel == "token_sums float32")
    score(n, Dtype::float32, true, calls);
  else if (kernel == "top_k")
    select(n, calls);
  else
    return 2;
  return 0;
}
