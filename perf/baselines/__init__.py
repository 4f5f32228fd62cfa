"""What one would write first: a binary segment tree in plain Python, and a numpy pass over the window."""
