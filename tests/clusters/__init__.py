"""Real engines and stores, each in processes of its own; run with ``-m cluster``."""
