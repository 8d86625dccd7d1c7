"""What it costs to carry tasks out elsewhere."""
