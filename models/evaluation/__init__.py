"""Full-ranking metrics, exact under ties, with intervals over users."""
