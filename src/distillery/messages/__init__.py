"""Messages of trained networks: readings, gauge, fits to known forces, samples."""
