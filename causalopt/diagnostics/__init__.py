"""What the data can say: overlap, balance, placebo tests, sensitivity. Arrays in, tables out."""
