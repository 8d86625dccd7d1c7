"""Coverage where each text is rated by ten readers and each reader rates twenty texts."""
