"""HTTP clients of others, as they come: curl, Java, Go, Node and requests, each against a real service."""
