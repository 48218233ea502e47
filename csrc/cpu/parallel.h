#pragma once
// Runs tasks on threads that live for one call: nothing to guard after a fork, nothing shared between Python
// threads that call at the same time, and no second pool beside torch's.
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace culnig::cpu {

/// Bytes of memory traffic from which starting a thread, about 20 microseconds, pays off.
constexpr std::int64_t thread_bytes = 2 << 20;
/// The same between two matrix products of torch, whose threads spin on the CPUs for a while after each.
constexpr std::int64_t thread_bytes_beside_torch = 16 << 20;

/// Threads worth starting for `bytes` of traffic, at most `threads`.
inline int useful_threads(std::int64_t bytes, int threads, std::int64_t bytes_per_thread = thread_bytes) {
    const std::int64_t useful = bytes / bytes_per_thread;
    return useful < threads ? static_cast<int>(useful < 1 ? 1 : useful) : threads;
}

/// Calls work(task) for every task below n_tasks, in any order; rethrows the first exception of work.
template <typename Work>
void for_each_task(std::int64_t n_tasks, int threads, const Work& work) {
    std::atomic<std::int64_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_guard;
    const auto drain = [&] {
        try {
            for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < n_tasks;)
                work(task);
        } catch (...) {
            next.store(n_tasks);
            const std::lock_guard<std::mutex> lock(failure_guard);
            if (!failure) failure = std::current_exception();
        }
    };
    std::vector<std::thread> helpers;
    for (int i = 1; i < threads && i < n_tasks; ++i) {
        try {
            helpers.emplace_back(drain);
        } catch (const std::system_error&) {
            break;  // no more threads available: the running ones do the work
        }
    }
    drain();
    for (std::thread& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace culnig::cpu
