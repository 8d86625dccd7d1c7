"""Choice among each prompt's own candidates, on prompts that were held out: gain, coverage and seconds."""
