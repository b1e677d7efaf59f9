"""Who is who: of any two named things that meet, one is shuffled or renamed.

What comes back is, name by name, that of the same data in one order, or an error; never another
number in silence.
"""
