"""Coverage of the whole default path on data that nobody made for it."""
