"""Random odd tables through the default path: nothing may break, and no nuisance may go wild."""
