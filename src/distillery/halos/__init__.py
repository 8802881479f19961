"""Dark matter halos: from a simulated universe, or a catalogue, to a formula for the overdensity around them."""
