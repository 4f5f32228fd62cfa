"""From the bytes of a body to a batch in the store: media type, compression, JSON, raw, Arrow, lines, and the waits.

Each format has its module, and `intake` chooses among them. Who may send it was decided in `api.access`.
"""
