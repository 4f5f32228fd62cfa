"""Reverse proxies in front of the service: the configurations of docs/proxies.md, with the real programs."""
