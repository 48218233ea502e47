#pragma once
// Starts a kernel, under nvcc and in the tests' emulation on the CPU.
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#if defined(__CUDACC__)
#define CULNIG_LAUNCH(kernel, grid, block, stream, ...) kernel<<<(grid), (block), 0, (stream)>>>(__VA_ARGS__)
#else
#define CULNIG_LAUNCH(kernel, grid, block, stream, ...) \
    culnig::emulation::launch((grid), (block), (stream), [&] { kernel(__VA_ARGS__); })
#endif

namespace culnig::cuda {

inline void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess)
        throw std::runtime_error(std::string("CUDA, ") + what + ": " + cudaGetErrorString(status));
}

inline unsigned blocks_for(std::int64_t n, std::int64_t per_block) {
    return static_cast<unsigned>((n + per_block - 1) / per_block);
}

}  // namespace culnig::cuda
