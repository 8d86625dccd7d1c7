"""Values from a judge that is calibrated to few outcomes, beside the judge as it is and `cje-eval`."""
