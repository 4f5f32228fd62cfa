"""What the FUSE file system of the tests and those who read its notes have in common."""

TOLD = "/told"
"""A file that is no part of the disk: each write to it is noted as a call `write`, in order with all others."""
