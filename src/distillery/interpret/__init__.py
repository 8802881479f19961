"""Stage three: what the messages of a trained network say about the law."""
