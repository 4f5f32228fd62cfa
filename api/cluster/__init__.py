"""One shard of several machines: the same points in every replica, by a log that others keep.

Nothing here is imported by a service on one machine. Of HTTP it knows what a refusal is, and nothing else.
"""
