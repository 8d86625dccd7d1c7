"""Nuisances: outcome models, assignment models, and their cross-fitting by group."""
