"""Tests of the service, its settings, its logs and its command line."""
