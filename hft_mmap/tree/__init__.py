"""The tree, compiled: sums of values and nodes, windows and ranges folded from them, the write path of an append.

Functions of addresses and arrays that numba compiles, and the places of the words they load and store. Nothing here
opens a file, takes a lock that is waited for, or knows what a series is.
"""

from hft_mmap.tree import compiled

compiled.load()  # before anything imports a kernel by itself
