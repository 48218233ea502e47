// Table of contents of culnig._cuda. Tensors arrive as addresses and strides, so that no part of torch is
// linked; culnig.kernels.cuda has checked them and owns all memory.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <tuple>
#include <utility>

#include "kernels.h"

using namespace culnig;
namespace py = pybind11;

namespace {

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

/// A table as (address, row stride); address 0 for one that nobody asks for.
using TableAddress = std::pair<Address, std::int64_t>;

template <typename T>
Table<T> table(const TableAddress& given) {
    return {pointer<T>(given.first), given.second};
}

/// A view (item, token, neuron) as (address, item stride, token stride).
using TokenAddress = std::tuple<Address, std::int64_t, std::int64_t>;

TokenView view(const TokenAddress& given) {
    return {pointer<const void>(std::get<0>(given)), std::get<1>(given), std::get<2>(given)};
}

void set_pair(PairBatch& batch, const TokenAddress& activation, const TokenAddress& gradient,
              const std::array<std::int64_t, 3>& shape, int dtype, Address token_mask) {
    batch = {view(activation),
             view(gradient),
             static_cast<Dtype>(dtype),
             shape[0],
             shape[1],
             shape[2],
             pointer<const std::uint8_t>(token_mask)};
}

void score_items(const TokenAddress& activation, const TokenAddress& gradient,
                 const std::array<std::int64_t, 3>& shape, int dtype, int aggregator, Address token_mask,
                 const TableAddress& item_scores, const TableAddress& peak_tokens, Address status,
                 Address stream) {
    ScoreBatch batch{};
    set_pair(batch, activation, gradient, shape, dtype, token_mask);
    batch.aggregator = static_cast<Aggregator>(aggregator);
    batch.item_scores = table<float>(item_scores);
    batch.peak_tokens = table<std::int32_t>(peak_tokens);
    py::gil_scoped_release release;
    cuda::score_items(batch, pointer<unsigned long long>(status), pointer<void>(stream));
}

void add_scores(const TableAddress& item_scores, const std::array<std::int64_t, 2>& shape, Address confidence,
                Address culture_index, Address clamp_at_zero, const TableAddress& sums,
                const TableAddress& sums_of_squares, const TableAddress& positive_counts, Address status,
                Address stream) {
    ScoreBatch batch{};
    batch.n_items = shape[0];
    batch.n_neurons = shape[1];
    batch.item_scores = table<float>(item_scores);
    batch.confidence = pointer<const double>(confidence);
    batch.culture_index = pointer<const std::int64_t>(culture_index);
    batch.clamp_at_zero = pointer<const std::uint8_t>(clamp_at_zero);
    batch.sums = table<double>(sums);
    batch.sums_of_squares = table<double>(sums_of_squares);
    batch.positive_counts = table<std::uint32_t>(positive_counts);
    py::gil_scoped_release release;
    cuda::add_scores(batch, pointer<const unsigned long long>(status), pointer<void>(stream));
}

void token_sums(const TokenAddress& activation, const TokenAddress& gradient,
                const std::array<std::int64_t, 3>& shape, int dtype, Address token_mask,
                const TableAddress& magnitude, const TableAddress& positive_tokens,
                const TableAddress& gradient_norm, Address stream) {
    TokenSumsBatch batch{};
    set_pair(batch, activation, gradient, shape, dtype, token_mask);
    batch.magnitude = table<float>(magnitude);
    batch.positive_tokens = table<std::int32_t>(positive_tokens);
    batch.gradient_norm = table<float>(gradient_norm);
    py::gil_scoped_release release;
    cuda::token_sums(batch, pointer<void>(stream));
}

void top_k(const TableAddress& scores, const std::array<std::int64_t, 2>& shape, bool narrow,
           const TableAddress& excluded, std::int64_t k, Address best, Address workspace, Address stream) {
    const cuda::TopK request{pointer<const void>(scores.first),
                             narrow,
                             scores.second,
                             pointer<const std::uint8_t>(excluded.first),
                             excluded.second,
                             shape[0],
                             shape[1],
                             k,
                             pointer<std::int64_t>(best)};
    py::gil_scoped_release release;
    cuda::top_k(request, pointer<void>(workspace), pointer<void>(stream));
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "CUDA kernels of culnig; call them through culnig.backends.";
    m.def("device_available", &cuda::device_available);
    m.def("score_items", &score_items);
    m.def("add_scores", &add_scores);
    m.def("token_sums", &token_sums);
    m.def("top_k_workspace", &cuda::top_k_workspace);
    m.def("top_k", &top_k);
}
