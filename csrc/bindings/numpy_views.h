#pragma once
// Numpy arrays as the pointers and strides that the kernels take; nothing is copied.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <utility>
#include <vector>

#include "kernels.h"

namespace culnig::python {
namespace py = pybind11;

using OptionalArray = std::optional<py::array>;

inline TokenView token_view(const py::array& array) {
    return {array.data(), array.strides(0) / array.itemsize(), array.strides(1) / array.itemsize()};
}

template <typename T>
const T* values(const py::array& array) {
    return static_cast<const T*>(array.data());
}

template <typename T>
Table<const T> input(const py::array& array) {
    return {values<T>(array), array.strides(0) / array.itemsize()};
}

template <typename T>
Table<const T> input(const OptionalArray& array) {
    return array ? input<T>(*array) : Table<const T>{nullptr, 0};
}

template <typename T>
Table<T> output(py::array array) {
    return {static_cast<T*>(array.mutable_data()), array.strides(0) / array.itemsize()};
}

template <typename T>
Table<T> output(const OptionalArray& array) {
    return array ? output<T>(*array) : Table<T>{nullptr, 0};
}

template <typename T>
py::array_t<T> copied(const std::vector<T>& numbers) {
    return py::array_t<T>(static_cast<py::ssize_t>(numbers.size()), numbers.data());
}

}  // namespace culnig::python
