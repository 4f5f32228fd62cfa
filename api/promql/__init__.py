"""The part of Prometheus' query language that this service answers: parsed, and evaluated over the points of a store.

Nothing here knows of requests or routes. `parser` makes a tree (`tree`) of a query, `catalogue` says which series its
selectors mean, `over_time` folds windows of them, `vectors` does arithmetic, `evaluate` walks the tree for all steps at
once, and `written` makes JSON of what it finds.
"""
