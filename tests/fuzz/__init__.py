"""Fuzzing guided by coverage: `make fuzz` (atheris). A harness is a module `fuzz_NAME`; see `tests.fuzz.harness`."""
