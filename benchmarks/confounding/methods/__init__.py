"""Methods under test. A method is any object with ``fit(dataset, reference) -> Policy``."""
