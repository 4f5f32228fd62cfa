"""One connection: HTTP/1.1 and WebSockets on it, how many there may be, listening, and its end at a stop.

What a request means is decided above, in `api.routes` and `api.streams`.
"""
