"""Thresholds, measured on a CPU with 2 cores: constants, so that equal commands give equal bits."""

# torch's kernel for images gives the gradient of a shared weight faster from this many input channels and this width
IMAGE_KERNEL_CHANNELS = 64
IMAGE_KERNEL_SIZE = 7

# Products of patches give the gradient of each task's own weight faster from this many input channels, up to this many
# patches a task
PATCH_CHANNELS = 64
PATCH_ROWS = 2500

# Values of a channel that may be added up one after the other without losing digits
SERIAL_SUM = 1024

# The patch kernel is faster where a patch has at most 1 / PATCH_RATIO as many values as there are filters
PATCH_RATIO = 3

# Input values of the tasks computed at once. On the CPU activations should stay near the cache: with Conv4, `grouped`
# is fastest with 16 to 32 tasks of 10 to 80 images, `vmap` with 32 tasks of 10, 8 of 30, 4 of 80.
VALUES_GROUPED = 2**20
VALUES_VMAP = 250_000
VALUES_CUDA = 2**26
