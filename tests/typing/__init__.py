"""Files that have to type-check: `make check` runs mypy strict over them, the tests run them."""
