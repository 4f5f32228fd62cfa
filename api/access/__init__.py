"""Who may do what: tokens, the guard in front of every request, credentials and certificates, and what is exposed.

Nothing here knows what an endpoint does; a scope is all that it asks for.
"""
