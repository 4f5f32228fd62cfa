"""The command `hft-mmap`: its subcommands, what they print, the demo and the prices it replays.

What a command does to prices is in `hft_mmap`; here are options, tables, progress and messages.
"""
