"""Faults made for real: processes killed, system calls that fail, and disks that forget what was not synced."""
