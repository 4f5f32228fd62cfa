"""The benchmark cases, one module a suite; `perf.catalogue` finds them."""
