"""What lies on the disk: the head, the chunks, names, locks, and the identity of the boot that wrote them.

Each module reads and writes the bytes of one kind of file, and maps them. Whether what they hold may be believed, and
when it is put on the disk, is decided in `hft_mmap.durable`.
"""
