"""How well assignment models recover a density ratio that is known."""
