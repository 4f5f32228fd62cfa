"""What is certain: commits and the thread that makes them, recovery, verify, repair and snapshot.

Whatever decides how far a series may be believed, or puts it on the disk, lives here. What is read and appended between
two such decisions lives in `hft_mmap.series`.
"""
