"""``cleanlab.multiannotator`` on daskal's parts: what its functions take, and what they return."""
