"""Names of rows, classes and annotators: what counts as one, and how two sides are matched."""
