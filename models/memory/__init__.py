"""What learns within milliseconds beside the encoder: item transitions that fade, and the blend of all parts."""
