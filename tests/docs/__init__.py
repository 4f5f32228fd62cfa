"""Every example of the documents is executed, and must print what the document says."""
