"""Where the live words lie in the head file: what compiled code loads and stores through its mapping."""

HEAD_BYTES = 4096
LIVE_OFFSET = 512

TOTAL = LIVE_OFFSET // 8
START = TOTAL + 1
BOOT_ID = TOTAL + 2
BOOT_CLOCK = TOTAL + 4
FLAGS = TOTAL + 5
