"""Tables of texts, readers and outcomes."""
