"""Tests of api.streams, through the route /stream of real services."""
