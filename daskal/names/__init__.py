"""Who is who: what rows, classes and annotators are called, and how two sides are matched."""
