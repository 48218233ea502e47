#!/usr/bin/env bash
# Prepares an image of cibuildwheel: the CUDA compiler where the image can install it, so that the wheel gets `_cuda`.
# Elsewhere (aarch64, macOS, Windows) the wheel is for the CPU, and `verify --kernels` says that CUDA is missing.
set -euo pipefail
if command -v dnf >/dev/null && [ "$(uname -m)" = x86_64 ]; then
  dnf -y install dnf-plugins-core
  dnf config-manager --add-repo https://developer.download.nvidia.com/compute/cuda/repos/rhel8/x86_64/cuda-rhel8.repo
  dnf -y install cuda-nvcc-13-0 cuda-cudart-devel-13-0 cuda-crt-13-0 libnvvm-13-0
  ln -sf /usr/local/cuda-13.0/bin/nvcc /usr/local/bin/nvcc
fi
