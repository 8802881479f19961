"""Sources of data: one class for each kind of experiment, with its keys, cells, stages and estimates."""
