"""Requests that nobody should send, by the thousand: seeded, replayable, and held against a model of what was taken."""
