#pragma once
// The arguments of culnig.kernels as the structs of csrc/core, for both modules. culnig.kernels has checked
// dtypes, shapes and strides. Numpy arrays and torch tensors are used without a copy; a tensor reports its
// own address and strides, so no part of torch is linked.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "batch.h"

namespace culnig::python {
namespace py = pybind11;

/// Address of an array's first element, and the strides of all axes but the last, in elements.
struct Memory {
    void* data = nullptr;
    std::int64_t strides[2] = {0, 0};
};

/// Memory of an array or tensor; no address for None.
inline Memory memory(const py::object& array) {
    Memory at;
    if (array.is_none()) return at;
    if (py::isinstance<py::array>(array)) {
        const auto numbers = py::reinterpret_borrow<py::array>(array);
        at.data = const_cast<void*>(numbers.data());
        for (py::ssize_t axis = 0; axis + 1 < numbers.ndim(); ++axis)
            at.strides[axis] = numbers.strides(axis) / numbers.itemsize();
    } else {
        at.data = reinterpret_cast<void*>(array.attr("data_ptr")().cast<std::uintptr_t>());
        const int n_axes = array.attr("ndim").cast<int>();
        for (int axis = 0; axis + 1 < n_axes; ++axis)
            at.strides[axis] = array.attr("stride")(axis).cast<std::int64_t>();
    }
    return at;
}

template <typename T>
T* values(const py::object& array) {
    return static_cast<T*>(memory(array).data);
}

template <typename T>
Table<T> table(const py::object& array) {
    const Memory at = memory(array);
    return {static_cast<T*>(at.data), at.strides[0]};
}

inline std::int64_t length(const py::object& array, int axis) {
    return array.attr("shape")[py::int_(axis)].cast<std::int64_t>();
}

inline PairBatch pair_batch(const py::object& activation, const py::object& gradient, int dtype,
                            const py::object& token_mask) {
    const Memory a = memory(activation);
    const Memory g = memory(gradient);
    return {{a.data, a.strides[0], a.strides[1]},
            {g.data, g.strides[0], g.strides[1]},
            static_cast<Dtype>(dtype),
            length(activation, 0),
            length(activation, 1),
            length(activation, 2),
            values<const std::uint8_t>(token_mask)};
}

/// From culnig.kernels.ScoreTables.
inline ScoreTables score_tables(const py::object& tables) {
    return {table<double>(tables.attr("sums")), table<double>(tables.attr("sums_of_squares")),
            table<std::uint32_t>(tables.attr("positive_counts")), table<float>(tables.attr("item_scores")),
            table<std::int32_t>(tables.attr("peak_tokens"))};
}

/// From culnig.kernels.ScoreBatch and ScoreTables.
inline ScoreBatch score_batch(const PairBatch& pair, const py::object& batch, const py::object& tables,
                              int aggregator) {
    ScoreBatch given{pair,   score_tables(tables), static_cast<Aggregator>(aggregator), nullptr, nullptr,
                     nullptr};
    if (given.sums.data) {
        given.weight = values<const double>(batch.attr("weight"));
        given.culture_index = values<const std::int64_t>(batch.attr("culture_index"));
        given.clamp_at_zero = values<const std::uint8_t>(batch.attr("clamp_at_zero"));
    }
    return given;
}

/// From culnig.kernels.arguments.RoutedRows, and the tables (item, expert * neuron) of
/// culnig.kernels.ScoreTables.
inline RoutedBatch routed_batch(const py::object& activation, const py::object& gradient, int dtype,
                                int aggregator, const py::object& routing, const py::object& tables) {
    const Memory a = memory(activation);
    const Memory g = memory(gradient);
    const py::object unrouted = routing.attr("unrouted");
    return {a.data,
            g.data,
            a.strides[0],
            g.strides[0],
            static_cast<Dtype>(dtype),
            static_cast<Aggregator>(aggregator),
            length(unrouted, 1),
            length(unrouted, 0),
            length(activation, 1),
            values<const std::int64_t>(routing.attr("starts")),
            values<const std::int32_t>(routing.attr("tokens")),
            values<const std::int32_t>(unrouted),
            table<float>(tables.attr("item_scores")),
            table<std::int32_t>(tables.attr("peak_tokens"))};
}

/// From culnig.kernels.base.TokenSums.
inline TokenSumsBatch token_sums_batch(const PairBatch& pair, const py::object& sums) {
    return {pair, table<float>(sums.attr("magnitude")), table<std::int32_t>(sums.attr("positive_tokens")),
            table<float>(sums.attr("gradient_norm"))};
}

}  // namespace culnig::python
