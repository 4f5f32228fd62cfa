"""Streams: points that come in over a WebSocket, and statistics that go out over a WebSocket or as server-sent events.

handshake  the query of a stream, and which origins may open one
registry   the streams that are open: how many there may be, and their end
resource   the route /stream: a handshake becomes one of the two streams
frames     one message of an ingest stream, from bytes to a batch
ingest     the stream that brings points
live       who watches which series, and one clock that looks at them for everybody
stats      the WebSocket that sends statistics
events     the same as server-sent events: the route /events
"""
