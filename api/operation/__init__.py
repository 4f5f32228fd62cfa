"""Running it: settings, logs and their bounds, latencies, systemd, and turns of the event loop.

The lowest room that knows the service: every other one may use it, and it knows none of them.
"""
