"""One adapter for each store that is compared; each imports its package only when it is opened."""
