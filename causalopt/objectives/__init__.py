"""Objectives as pure functions of scalars."""
