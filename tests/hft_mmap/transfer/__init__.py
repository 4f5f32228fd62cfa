"""Tests of hft_mmap.transfer."""
