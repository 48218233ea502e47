#pragma once
// Compiler attributes: for functions that host and device compile, for forced inlining, and for functions
// that are compiled once per instruction set and chosen when the module is loaded.

#if defined(__CUDACC__)
#define CULNIG_HD __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define CULNIG_HD inline __attribute__((always_inline))
#else
#define CULNIG_HD inline
#endif

// Forced inlining of a lambda on the host.
#if defined(__GNUC__) && !defined(__CUDACC__)
#define CULNIG_INLINE_LAMBDA __attribute__((always_inline))
#else
#define CULNIG_INLINE_LAMBDA
#endif

// A clone covers only the code that is inlined into it, hence always_inline on everything in this folder. An
// ifunc makes the choice; it needs glibc, and it runs before a sanitizer is ready.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(CULNIG_NO_CLONES)
#define CULNIG_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define CULNIG_CLONES
#endif
