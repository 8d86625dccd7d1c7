"""Estimates of a policy's value: arrays in, an `Estimate` out."""
