"""The endpoints that answer a request with a response, and the OpenAPI document that describes them all.

A module reads the query, asks the store and says how the answer looks. How the bytes of a body become a batch is in
`api.body`; answers without an end are in `api.streams`.
"""
