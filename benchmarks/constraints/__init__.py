"""A gain to reach and a bound on complaints to keep, where the texts that gain most draw most complaints."""
