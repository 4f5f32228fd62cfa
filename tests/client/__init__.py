"""Tests of hft_mmap.client, against real services."""
