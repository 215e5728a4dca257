"""Reading and validating YAML files of parameters."""
