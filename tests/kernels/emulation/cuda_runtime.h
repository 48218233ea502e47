#pragma once
// Stands in for the CUDA runtime, so that the .cu files run on a CPU in the tests.
//
// A launch runs its blocks one after the other. The threads of a block are fibers: each runs until it reaches
// __syncthreads or its end, then the next one runs. CULNIG_EMULATION_ORDER=reverse reverses the order of threads and
// blocks, on which no result may depend. "Device" memory is plain memory, so that address sanitizers and numpy
// can read it.
#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static  // one block at a time

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9 };

namespace culnig::emulation {

inline dim3 thread_index, block_index, block_size, grid_size;
inline cudaError_t last_error = cudaSuccess;

/// The fibers of one block and which of them runs.
class Block {
  public:
    void run(unsigned n_threads, const std::function<void()>& body, bool reverse) {
        body_ = &body;
        resize(n_threads);
        for (unsigned i = 0; i < n_threads; ++i) {
            Fiber& fiber = *fibers_[i];
            getcontext(&fiber.context);
            fiber.context.uc_stack = {fiber.stack.get(), 0, stack_bytes};
            fiber.context.uc_link = &scheduler_;
            fiber.finished = false;
            makecontext(&fiber.context, &Block::enter, 0);
        }
        for (bool any = true; any;) {  // one round takes every thread to the next barrier
            any = false;
            for (unsigned step = 0; step < n_threads; ++step) {
                const unsigned i = reverse ? n_threads - 1 - step : step;
                if (fibers_[i]->finished) continue;
                any = true;
                current_ = i;
                const unsigned row = block_size.x * block_size.y;
                thread_index = dim3(i % block_size.x, i % row / block_size.x, i / row);
                swapcontext(&scheduler_, &fibers_[i]->context);
            }
        }
    }

    void barrier() {
        Fiber& fiber = *fibers_[current_];
        swapcontext(&fiber.context, &scheduler_);
    }

  private:
    static constexpr std::size_t stack_bytes = 128 << 10;

    struct Fiber {
        ucontext_t context;
        std::unique_ptr<char[]> stack{new char[stack_bytes]};
        bool finished = false;
    };

    static void enter();

    void resize(unsigned n) {
        while (fibers_.size() < n) fibers_.push_back(std::make_unique<Fiber>());
    }

    std::vector<std::unique_ptr<Fiber>> fibers_;
    ucontext_t scheduler_{};
    const std::function<void()>* body_ = nullptr;
    unsigned current_ = 0;
};

inline Block block;

inline void Block::enter() {
    (*block.body_)();
    block.fibers_[block.current_]->finished = true;
}

/// Runs the body for every thread of every block. A launch that a device would refuse runs nothing.
inline void launch(dim3 grid, dim3 threads, cudaStream_t, const std::function<void()>& body) {
    static std::mutex one_device;
    const std::lock_guard<std::mutex> lock(one_device);
    const unsigned n_threads = threads.x * threads.y * threads.z;
    if (n_threads == 0 || n_threads > 1024 || grid.x == 0 || grid.y == 0 || grid.y > 65535) {
        last_error = cudaErrorInvalidConfiguration;
        return;
    }
    const char* order = std::getenv("CULNIG_EMULATION_ORDER");
    const bool reverse = order && std::strcmp(order, "reverse") == 0;
    block_size = threads;
    grid_size = grid;
    const std::uint64_t n_blocks = std::uint64_t{grid.x} * grid.y * grid.z;
    for (std::uint64_t step = 0; step < n_blocks; ++step) {
        const std::uint64_t i = reverse ? n_blocks - 1 - step : step;
        block_index = dim3(static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                           static_cast<unsigned>(i / grid.x / grid.y));
        block.run(n_threads, body, reverse);
    }
}

}  // namespace culnig::emulation

#define threadIdx culnig::emulation::thread_index
#define blockIdx culnig::emulation::block_index
#define blockDim culnig::emulation::block_size
#define gridDim culnig::emulation::grid_size

inline void __syncthreads() { culnig::emulation::block.barrier(); }

template <typename T>
T atomicAdd(T* address, T value) {
    const T before = *address;
    *address = before + value;
    return before;
}

template <typename T>
T atomicMin(T* address, T value) {
    const T before = *address;
    if (value < before) *address = value;
    return before;
}

inline cudaError_t cudaGetLastError() {
    const cudaError_t error = culnig::emulation::last_error;
    culnig::emulation::last_error = cudaSuccess;
    return error;
}

inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : "invalid configuration argument";
}

inline cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
