"""The measurements in the documentation: most modules are commands, ``python -m benchmarks.NAME``.

Run them from a checkout, after ``pip install -e ".[test]"``, which brings cleanlab. ``--small``
runs each in seconds; its figures mean nothing.
"""
