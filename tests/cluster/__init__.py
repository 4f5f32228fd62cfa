"""A shard of several machines: the record, the rules, the replica, and what they keep whatever fails."""
