"""Values of policies over long texts: where the ratio of sequence probabilities gives out."""
