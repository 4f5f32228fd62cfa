"""The units of `systemd/` under a real systemd, booted in namespaces; skipped where that is not possible."""
