"""Real tokens trained per second, next to TRL's KTO, a plain loop and a supervised step."""
