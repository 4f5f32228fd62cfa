"""The programs of contrib/: by recordings, and by exchanges and servers on loopback."""
