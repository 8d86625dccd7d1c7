"""What a run loses when it is killed, its disk is full or fails, or the power goes."""
