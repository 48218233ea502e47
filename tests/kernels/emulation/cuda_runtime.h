#pragma once
// Stands in for the CUDA runtime, so that the .cu files run on a CPU in the tests.
//
// A launch runs its blocks one after the other. The threads of a block are fibers: each runs until it waits for its
// block or its warp, or ends, then the next one runs. Threads that wait for each other in vain are an error.
// CULNIG_EMULATION_ORDER=reverse reverses the order of threads and blocks, on which no result may depend. "Device" memory is plain memory, so that address sanitizers and numpy
// can read it.
#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
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
enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidDevice = 101,
    cudaErrorNoKernelImageForDevice = 209,
};

namespace culnig::emulation {

inline dim3 thread_index, block_index, block_size, grid_size;
inline cudaError_t last_error = cudaSuccess;
inline int device = 0;

constexpr unsigned warp_size = 32;

/// The fibers of one block and which of them runs.
class Block {
  public:
    void run(unsigned n_threads, const std::function<void()>& body, bool reverse) {
        body_ = &body;
        n_threads_ = n_threads;
        resize(n_threads);
        for (unsigned i = 0; i < n_threads; ++i) {
            Fiber& fiber = *fibers_[i];
            getcontext(&fiber.context);
            fiber.context.uc_stack = {fiber.stack.get(), 0, stack_bytes};
            fiber.context.uc_link = &scheduler_;
            fiber.state = State::runs;
            makecontext(&fiber.context, &Block::enter, 0);
        }
        while (!all(0, n_threads, State::finished)) {
            const bool any = run_each(reverse);
            const bool released = release_warps() || release_block();
            if (!any && !released) throw std::logic_error("threads wait for each other in vain");
        }
    }

    void wait_for_block() { wait(State::waits_for_block); }

    /// Bits of the lanes of the warp that voted yes; all lanes have to vote.
    std::uint32_t ballot(bool vote) {
        fibers_[current_]->vote = vote;
        wait(State::waits_for_warp);
        const unsigned first = current_ / warp_size * warp_size;
        std::uint32_t bits = 0;
        for (unsigned lane = 0; lane < warp_size; ++lane)
            bits |= static_cast<std::uint32_t>(fibers_[first + lane]->vote) << lane;
        wait(State::waits_for_warp);  // nobody votes again before all have counted
        return bits;
    }

  private:
    static constexpr std::size_t stack_bytes = 128 << 10;

    enum class State { runs, waits_for_warp, waits_for_block, finished };

    struct Fiber {
        ucontext_t context;
        std::unique_ptr<char[]> stack{new char[stack_bytes]};
        State state = State::finished;
        bool vote = false;
    };

    static void enter();

    void resize(unsigned n) {
        while (fibers_.size() < n) fibers_.push_back(std::make_unique<Fiber>());
    }

    /// Runs every thread that can until it waits or ends; false if none could.
    bool run_each(bool reverse) {
        bool any = false;
        for (unsigned step = 0; step < n_threads_; ++step) {
            const unsigned i = reverse ? n_threads_ - 1 - step : step;
            if (fibers_[i]->state != State::runs) continue;
            any = true;
            current_ = i;
            const unsigned row = block_size.x * block_size.y;
            thread_index = dim3(i % block_size.x, i % row / block_size.x, i / row);
            swapcontext(&scheduler_, &fibers_[i]->context);
        }
        return any;
    }

    void wait(State state) {
        Fiber& fiber = *fibers_[current_];
        fiber.state = state;
        swapcontext(&fiber.context, &scheduler_);
    }

    bool all(unsigned first, unsigned last, State state) const {
        for (unsigned i = first; i < last; ++i)
            if (fibers_[i]->state != state) return false;
        return true;
    }

    bool release_warps() {
        bool any = false;
        for (unsigned first = 0; first + warp_size <= n_threads_; first += warp_size) {
            if (!all(first, first + warp_size, State::waits_for_warp)) continue;
            for (unsigned i = first; i < first + warp_size; ++i) fibers_[i]->state = State::runs;
            any = true;
        }
        return any;
    }

    /// Lets the block's threads go on if all that have not ended wait for it.
    bool release_block() {
        for (unsigned i = 0; i < n_threads_; ++i)
            if (fibers_[i]->state == State::runs || fibers_[i]->state == State::waits_for_warp) return false;
        for (unsigned i = 0; i < n_threads_; ++i)
            if (fibers_[i]->state == State::waits_for_block) fibers_[i]->state = State::runs;
        return true;
    }

    std::vector<std::unique_ptr<Fiber>> fibers_;
    ucontext_t scheduler_{};
    const std::function<void()>* body_ = nullptr;
    unsigned n_threads_ = 0;
    unsigned current_ = 0;
};

inline Block block;

inline void Block::enter() {
    (*block.body_)();
    block.fibers_[block.current_]->state = State::finished;
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

inline void __syncthreads() { culnig::emulation::block.wait_for_block(); }

inline unsigned __ballot_sync(unsigned lanes, bool vote) {
    if (lanes != ~0u) throw std::logic_error("only ballots of a whole warp are emulated");
    return culnig::emulation::block.ballot(vote);
}

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

// Two devices; the code fits the first only.

inline cudaError_t cudaGetDeviceCount(int* count) {
    *count = 2;
    return cudaSuccess;
}

inline cudaError_t cudaGetDevice(int* device) {
    *device = culnig::emulation::device;
    return cudaSuccess;
}

inline cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device > 1) return culnig::emulation::last_error = cudaErrorInvalidDevice;
    culnig::emulation::device = device;
    return cudaSuccess;
}

struct cudaFuncAttributes {};

inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void*) {
    if (culnig::emulation::device == 0) return cudaSuccess;
    return culnig::emulation::last_error = cudaErrorNoKernelImageForDevice;
}
