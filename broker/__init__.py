"""A real Apache Kafka 4 without Docker: broker and controller in one Java process, or three of them, on loopback."""
