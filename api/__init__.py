"""The service: the HTTP contract over a `hft_mmap.Store`, its settings, its logs and its command line."""
