"""The competition: other stores do the same work on the same machine. README.md says how to run and read it."""
