"""``python -m daskal.cli``: the command ``daskal``."""

from daskal.cli.commands import main

if __name__ == "__main__":
    main()
