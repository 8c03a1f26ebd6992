"""The inner loop: unrolled gradient steps on the support loss."""
