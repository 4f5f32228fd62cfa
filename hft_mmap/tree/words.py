"""Where the live words lie in the head file: what compiled code loads and stores through its mapping.

Behind the commit slots lies a ring of the newest publications, each a total and the running checksum of all points
below it (`tree.checksum`). Who publishes writes the next place of the ring first and `total` last, so the ring always
holds the checksum of the total that is published. The upper bits of a place are those of the salt under which it was
written: where the ring begins anew, places of the old one are known for what they are.
"""

HEAD_BYTES = 4096
LIVE_OFFSET = 512

TOTAL = LIVE_OFFSET // 8
START = TOTAL + 1
BOOT_ID = TOTAL + 2
BOOT_CLOCK = TOTAL + 4
FLAGS = TOTAL + 5
NEWEST = TOTAL + 6
"""The place of the newest publication in the ring, from 0."""
EPOCH = TOTAL + 7
"""Which run of checksums those of the ring belong to: they compare with others of the same epoch only; 0 is none."""
MIXED_KEYS = 1 << 62
"""The bit of an epoch in which the keys of the checksums are mixed; earlier releases have other checksums."""
HOME = TOTAL + 8
"""The inode of the head file. In a copy it is another one."""
SETTLED = TOTAL + 9
"""A checksum of what only changes under the lock of the series: START, the run of the machine, EPOCH, HOME, SALT."""
FLAGS_CHECK = TOTAL + 10
"""The complement of FLAGS, which change under the lock of the commits."""
SALT = TOTAL + 11
"""What was added to every checksum in the ring: another number each time that points were lost, so that those of
points that were lost can't come back."""
UNTOLD = TOTAL + 12
"""Where the series ended before points were lost that nobody was told of yet; 0 if there are none."""
UNTOLD_FROM = TOTAL + 13
"""Where it ends since."""

START_BEHIND_TOTAL = 8 * (START - TOTAL)
ERA_BEHIND_TOTAL = 8 * (SALT - TOTAL)
"""Where these lie behind the total, in bytes. The salt: a mapping made under another one may show lost points."""

RING_OFFSET = 2560
RING = RING_OFFSET // 8
RING_PLACES = 64
TAG_BITS = 48
"""The bits of a total in the ring, enough for 2 PB of points; above them lie TAG_MASK bits of the salt."""
TAG_MASK = 0x7FFF
