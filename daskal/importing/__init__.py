"""Votes from people's files into sparse stores."""
