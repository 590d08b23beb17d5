"""Content towers: text and pictures to part vectors; pretrained, fitted, trained here, or brought by the user."""
