"""Items' content: sentences and pictures as part vectors, encoded once and kept."""
