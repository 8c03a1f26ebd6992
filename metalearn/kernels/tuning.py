"""Measured thresholds: constants, so that equal commands give equal bits. Nothing is timed at run time.

Those of the CPU were measured on 2 cores of an AMD EPYC, if not said otherwise, with torch 2.14; those of CUDA on an
NVIDIA H200 with torch 2.11, on 26 November 2026. `experiments/speed/benchmark.py` measures whole
meta-steps with them; single layers were timed for the thresholds by hand.
"""

# Devices on which rules and kernels are faster than torch.func.vmap. On the H200, vmap was faster in 17 of the 20
# settings of docs/performance.md, up to 7 times, and slower by at most 11% in the others
GROUPED_ON = ("cpu",)

# torch's kernel for volumes gives the gradient of a shared weight faster than that for images, which needs copies, from
# this many input channels and below this width
VOLUME_KERNEL_CHANNELS = 48
VOLUME_KERNEL_SIZE = 7

# Products of patches give the gradient of each task's own weight faster from this many input channels, up to this many
# patches a task
PATCH_CHANNELS = 64
PATCH_ROWS = 2500

# Values of a channel that may be added up one after the other without losing digits
SERIAL_SUM = 1024

# The patch kernel is faster where a patch has at most 1 / PATCH_RATIO as many values as there are filters
PATCH_RATIO = 3

# Input values of the tasks computed at once, measured on 2 cores of an Intel Xeon with AVX-512 in November 2026. With
# images of 28x28, `grouped` took the same time with 16 and 32 tasks of 80 images, for Conv4 and the narrow ResNet-12.
# With colour images of 84x84, ResNet-12 took 0.7 of the time with 8 tasks of 10 images at once instead of one; with
# tasks of 80 images, one at a time was fastest. `vmap` is fastest with 32 tasks of 10 images of 28x28, 8 of 30, 4 of 80
# (EPYC)
VALUES_GROUPED = 2**21
VALUES_VMAP = 250_000
VALUES_CUDA = 2**26

# Adapted weights of the tasks computed at once on the CPU, each task its own: 256 MB. An inner step holds several times
# as much
OWN_WEIGHTS = 2**26
