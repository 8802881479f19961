"""Laws in place of a network: composed from expressions, chosen and refitted by data, simplified."""
