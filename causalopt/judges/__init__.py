"""Judges that compare two texts, and how often the texts of one policy are preferred to those of another."""
