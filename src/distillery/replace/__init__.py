"""The replace stage: expressions take the place of the network, their constants refitted."""
