"""The words of HTTP that every room shares: the request, what is remembered of an exchange, queries, problem documents.

Nothing here knows an endpoint, a connection or a setting.
"""
