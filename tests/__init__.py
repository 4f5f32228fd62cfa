"""The tests: `tests/store` for the library, `tests/api` for the service."""
