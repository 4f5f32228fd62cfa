"""One data directory as a whole: which series it holds, how they are found and made, asked and watched.

Each module has one side of it, and `hft_mmap.store.Store` is all of them together. What one series is and does, once it
is open, lives in `hft_mmap.series`.
"""
